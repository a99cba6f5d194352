"""The picture of a record: found without a look at the other files, and never outside the gallery."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from PIL import Image

from reid_lightning.search.gallery import Gallery


def test_the_picture_of_a_record(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        gallery.add(sighting(f"a-{number}", "A"), pictures())
    (gallery.root / "MINE").mkdir()
    Image.new("RGB", (9, 9), "red").save(gallery.root / "MINE/left.png")
    (own,) = gallery.sightings_of("MINE")
    root, own_id = gallery.root, f"{own.id}-0"
    reader = Gallery(root)
    for vehicle in ("A", "a", None, "MINE", "nobody", "../A"):
        assert reader.picture_path("a-1-1", vehicle=vehicle) == root / "A/a-1-1.jpg"
    assert reader.picture_path(own_id, vehicle="MINE") == reader.picture_path(own_id) == root / "MINE/left.png"
    assert reader.picture_path(own_id, vehicle="A") is None  # the id holds the name of its folder
    for unknown in ("a-1-2", "a-9-0", "a-1", f"{own.id}-1", "a-1-01", "a-1--1", "a-1-\u0661", "-0", "", "0"):
        assert reader.picture_path(unknown, vehicle="A") is None and reader.picture_path(unknown) is None
    reads: list[Path] = []
    for module in ("crop_files", "reader"):
        name = f"reid_lightning.search.gallery.{module}.vehicle_folders"
        monkeypatch.setattr(name, lambda root: reads.append(root) or ([], []))
    monkeypatch.setattr("reid_lightning.search.gallery.crop_files.own_pictures", reads.append)
    monkeypatch.setattr("reid_lightning.search.gallery.crop_files.read_sidecar", reads.append)
    for identifier in ("a-1-1", "a-9-0"):
        reader.picture_path(identifier, vehicle="A")
    reader.picture_path(own_id)
    assert reads == []


def test_the_picture_of_a_record_after_a_change(gallery: Gallery) -> None:
    assert gallery.picture_path("a1-0", vehicle="A") is None
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    assert gallery.picture_path("a1-0", vehicle="A") == gallery.root / "A/a1-0.jpg"
    gallery.rename("A", "B")
    assert gallery.picture_path("a1-0", vehicle="A") == gallery.root / "B/a1-0.jpg"
    (gallery.root / "B/a2.json").write_text("{")
    (gallery.root / "B/a1-0.jpg").unlink()
    assert gallery.picture_path("a1-0", vehicle="B") is gallery.picture_path("a2-0", vehicle="B") is None


@pytest.mark.parametrize("is_old", [False, True])
def test_a_process_that_found_no_picture_finds_it_when_another_one_has_put_it_back(
    gallery: Gallery, is_old: bool
) -> None:
    """As searches do that go on for days."""
    other = Gallery(gallery.root)
    for number in range(2):
        gallery.add(sighting(f"a{number}", "A"), pictures())
    for vehicle in ("A", "B"):
        entry = other.delete("A", undoable=True)
        if is_old:
            os.utime(gallery.root, (1e9, 1e9))
        assert gallery.picture_path("a1-0", vehicle=vehicle) is None
        other.restore(entry.id, into="B" if vehicle == "B" else None)
        assert gallery.picture_path("a1-0", vehicle=vehicle) == gallery.root / vehicle / "a1-0.jpg"
    other.delete_sighting(other.find("a1"))
    if is_old:
        for path in (gallery.root, gallery.root / "B"):
            os.utime(path, (1e9, 1e9))
    assert gallery.picture_path("a1-0", vehicle="B") is None
    other.add(sighting("a1", "B"), pictures())
    assert gallery.picture_path("a1-0", vehicle="B") == gallery.root / "B/a1-0.jpg"


def test_what_is_not_there_is_not_looked_for_again_until_something_changes(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    for path in (gallery.root, gallery.root / "A"):
        os.utime(path, (1e9, 1e9))
    looked: list[str] = []
    located = gallery.locations.vehicle_of
    monkeypatch.setattr(gallery.locations, "vehicle_of", lambda one: looked.append(one) or located(one))
    for _ in range(3):
        assert gallery.picture_path("a9-0", vehicle="A") is gallery.picture_path("a9-0", vehicle="gone") is None
    assert looked == ["a9", "a9"]


def test_no_record_has_a_picture_outside_the_gallery(gallery: Gallery, tmp_path: Path) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    for name in ("private.png", "b-0.jpg"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    shutil.copy(gallery.root / "A/a1.json", tmp_path / "a3.json")
    (gallery.root / "A/a3.json").symlink_to(tmp_path / "a3.json")
    (gallery.root / "A/a1-1.jpg").unlink()
    (gallery.root / "A/a1-1.jpg").symlink_to(tmp_path / "private.png")
    path = gallery.root / "A/a2.json"
    path.write_text(path.read_text().replace("a2-0.jpg", "../../private.png"))
    nasty = ["../private.png", "../private-0", "a/../../b-0", f"{tmp_path}/b-0", "..-0", ".-0", "a1\0-0", "\ud800-0"]
    nasty += ["a1-1", "a2-0", "a3-0", "x" * 300 + "-0", "a1-" + "9" * 5000]
    for identifier in nasty:
        for vehicle in (None, "A", "..", "../A", "", "\ud800", "x" * 300, str(tmp_path)):
            assert gallery.picture_path(identifier, vehicle=vehicle) is None
