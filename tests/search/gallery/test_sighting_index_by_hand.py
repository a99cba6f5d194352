"""The index of sidecars notices what people change in the folders by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from indexed_gallery import check_agrees, filled, grow_old, only_notes, slow_list
from PIL import Image

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, adding, sighting_index, vehicle_folder

BY_HAND: dict[str, Callable[[Path], object]] = {
    "a folder is renamed": lambda root: (root / "V0").rename(root / "W"),
    "a folder is copied": lambda root: shutil.copytree(root / "V0", root / "W"),
    "a folder is removed": lambda root: shutil.rmtree(root / "V1"),
    "a picture is put in": lambda root: Image.new("RGB", (9, 9)).save(root / "V1/mine.png"),
    "a picture is put into a new folder": lambda root: (
        (root / "W").mkdir(),
        Image.new("RGB", (9, 9)).save(root / "W/mine.png"),
    ),
    "a sidecar is removed": lambda root: (root / "V1/a2.json").unlink(),
    "a crop is removed": lambda root: (root / "V1/a2-0.jpg").unlink(),
    "a sidecar is changed": lambda root: (root / "V1/a2.json").write_text(
        (root / "V1/a2.json").read_text().replace("north", "south")
    ),
    "a sidecar is damaged": lambda root: (root / "V1/a2.json").write_text("{"),
    "a folder becomes a link": lambda root: (
        (root / "V0").rename(root.parent / "aside"),
        (root / "V0").symlink_to(root.parent / "aside"),
    ),
}

pytestmark = pytest.mark.usefixtures("no_crashes")


@pytest.mark.parametrize("change", BY_HAND)
@pytest.mark.parametrize("is_large", [False, True])
def test_what_people_change_by_hand_is_noticed(tmp_path: Path, monkeypatch, change: str, is_large: bool) -> None:
    root = tmp_path / "gallery"
    gallery = filled(root)
    Image.new("RGB", (8, 8)).save(root / "V2/own.png")
    grow_old(root)
    gallery.vehicles()
    if is_large:
        only_notes(monkeypatch)
    BY_HAND[change](root)
    if is_large or change in ("a sidecar is changed", "a sidecar is damaged"):  # which changes no folder
        Gallery(root).locations.index.look(everything=True)
    check_agrees(gallery)
    assert gallery.vehicles(on_problem=lambda problem: None) == slow_list(gallery)


def test_after_a_restart_of_the_machine_every_folder_is_compared(tmp_path: Path, monkeypatch) -> None:
    gallery = filled(tmp_path)
    grow_old(tmp_path)
    gallery.vehicles()
    only_notes(monkeypatch)
    (tmp_path / "V1/a2.json").unlink()  # a change whose note was lost
    assert [one.sightings for one in Gallery(tmp_path).vehicles()] == [2, 2, 2]
    monkeypatch.setattr(sighting_index, "_boot", lambda: "another")
    assert [one.sightings for one in Gallery(tmp_path).vehicles()] == [2, 1, 2]


def test_adding_lists_a_large_gallery_no_more_and_sees_what_was_put_in_meanwhile_later(
    tmp_path: Path, monkeypatch
) -> None:
    gallery = filled(tmp_path)
    only_notes(monkeypatch)
    gallery.vehicles()
    listed: list[Path] = []
    monkeypatch.setattr(
        sighting_index, "vehicle_folders", lambda root: listed.append(root) or vehicle_folder.vehicle_folders(root)
    )
    put = adding._put
    monkeypatch.setattr(adding, "_put", lambda *given: ((tmp_path / "by hand").mkdir(exist_ok=True), put(*given)))
    for number in range(5):
        assert gallery.add(sighting(f"new{number}", f"NEW{number // 2}"), pictures())
    assert [one.id for one in Gallery(tmp_path).vehicles()] == ["NEW0", "NEW1", "NEW2", "V0", "V1", "V2"]
    assert listed == []
    Image.new("RGB", (9, 9)).save(tmp_path / "by hand/mine.png")
    monkeypatch.setattr(sighting_index, "SETTLED", -1)  # seconds later
    assert "by hand" in [one.id for one in Gallery(tmp_path).vehicles()]
    assert listed == [tmp_path]


def test_problems_are_named_and_one_raises(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    gallery.vehicles()
    (tmp_path / "V1/a2.json").write_text("{")
    with pytest.raises(ReIDError, match=r"a2\.json is damaged"):
        gallery.vehicles()
    problems: list[str] = []
    assert [one.sightings for one in gallery.vehicles(on_problem=problems.append)] == [2, 1, 2]
    assert len(problems) == 1
    with pytest.raises(ReIDError, match=r"a2\.json is damaged"):
        gallery.find("a2")
    assert gallery.add(sighting("a2", "V7"), pictures()) is False  # it is there, damaged or not
