"""Damage in a gallery is named, by a check and whoever reads; a repair removes only what is nobody's."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from gallery_files import all_files, ids, pictures, sighting

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, checking


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "[" * 100_000,
        "[]",
        "null",
        '{"format": 2}',
        {"crops": []},
        {"crops": [{"file": "a1-0.jpg"}]},
        {"crops": 3},
        {"id": "a2"},
        {"track": 1.5},
        {"track": True},
        {"start": "noon"},
        {"start": float("nan")},
        {"camera": None},
        {"file": "../../secret.jpg"},
        {"file": "/etc/passwd"},
        {"file": "a1-7.jpg"},
        {"box": [1, 2, 3]},
        {"box": [1, 2, 3, "4"]},
        {"score": float("inf")},
        {"frame": 10**400},
    ],
)
def test_a_damaged_sidecar_is_named(gallery: Gallery, damage: str | dict) -> None:
    gallery.add(sighting(), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    path = gallery.root / "51G12345/a1.json"
    if isinstance(damage, dict):
        values = json.loads(path.read_text())
        (name,) = damage
        (values if name in values else values["crops"][0]).update(damage)
        damage = json.dumps(values)
    path.write_text(damage)
    with pytest.raises(ReIDError, match=r"a1(\.json|-7\.jpg)"):
        list(gallery.sightings())
    problems: list[str] = []
    assert [one.id for one in gallery.sightings(on_problem=problems.append)] == ["a2"]
    assert len(problems) == 1 and problems == gallery.check()[:1]


def test_bytes_that_are_no_text_in_a_sidecar(gallery: Gallery) -> None:
    gallery.add(sighting(), pictures())
    (gallery.root / "51G12345/a1.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ReIDError, match=r"a1.json is damaged"):
        list(gallery.sightings())


def test_a_damaged_crop_is_named_by_check(gallery: Gallery) -> None:
    gallery.add(sighting(), pictures())
    path = gallery.root / "51G12345/a1-1.jpg"
    path.write_bytes(path.read_bytes()[:200])
    (problem,) = gallery.check()
    assert str(path) in problem


def test_a_copied_folder_does_not_double_its_sightings(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    shutil.copytree(gallery.root / "A", gallery.root / "B")
    problems: list[str] = []
    assert [one.vehicle for one in gallery.sightings(on_problem=problems.append)] == ["A"]
    assert problems == ["The sighting a1 lies in A and in B; delete one of the two."] == gallery.check()
    assert ids(gallery) == {"a1": gallery.find("a1").vehicle} == {"a1": "A"}


def test_repair_removes_what_a_stopped_process_left(gallery: Gallery) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    (gallery.root / "B/a2.json").unlink()
    (gallery.root / "A/.beef.part").write_bytes(b"x")
    (gallery.root / ".deleted/old").mkdir(parents=True)
    assert ids(gallery) == {"a1": "A"}  # the crops of a2 do not pass for a user's pictures
    assert len(gallery.check()) == 4
    assert gallery.repair() == []  # they could belong to a process at work
    assert len(gallery.repair(older_than=-1)) == 4
    assert gallery.check() == []
    assert all_files(gallery.root) == {"A/a1.json", "A/a1-0.jpg", "A/a1-1.jpg"}
    assert not (gallery.root / "B").exists()


@pytest.mark.parametrize("damage", ['{"format": 2}', "", '{"format": 1, "id": "a1", "crops": [{"file": "a9-0.jpg"}]}'])
def test_repair_touches_nothing_where_a_sidecar_cannot_be_read(gallery: Gallery, damage: str) -> None:
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "A"), pictures())
    (gallery.root / "A/a1.json").write_text(damage)
    (gallery.root / "A/a2.json").rename(gallery.root / "A/a2.txt")  # whose crops these are, nobody can say now
    before = all_files(gallery.root)
    assert gallery.repair(older_than=-1) == [] and all_files(gallery.root) == before
    assert gallery.sightings_of("A", on_problem=lambda problem: None) == []
    assert len(gallery.check()) == 1


def test_a_gallery_that_is_no_folder_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReIDError, match=f"the gallery {tmp_path / 'file'} is a file; expected a folder"):
        Gallery(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReIDError, match="is a pipe; expected a folder"):
        Gallery(tmp_path / "pipe")
    below = tmp_path / "file/below"
    with pytest.raises(ReIDError, match=f"{below} cannot be read: Not a directory. Expected a folder"):
        Gallery(below).vehicle_names()
    with pytest.raises(ReIDError, match="cannot be read"):
        list(Gallery(below).sightings())


def test_a_folder_that_may_not_be_read_is_named(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    gallery.add(sighting("b1", "V2"), pictures())
    real = os.scandir

    def refused(path: Path):
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refused)
    closed, problems = gallery.root / "V1", []
    assert [one.id for one in gallery.sightings(on_problem=problems.append)] == ["b1"]
    (problem,) = problems
    assert f"{closed} cannot be read: Permission denied" in problem
    closed = gallery.root
    with pytest.raises(ReIDError, match=f"{closed} cannot be read: Permission denied"):
        gallery.vehicle_names()


def test_a_check_tells_how_far_it_is_and_can_be_stopped(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for vehicle in ("V1", "V2", "V3"):
        gallery.add(sighting(f"of-{vehicle}", vehicle), pictures())
    for vehicle in ("V1", "V3"):
        (gallery.root / vehicle / f"of-{vehicle}-1.jpg").write_bytes(b"x")
    whole = gallery.check()
    assert len(whole) == 2
    for at_once in (1, 3, 1024):
        steps: list[tuple[int, int]] = []
        monkeypatch.setattr(checking, "_AT_ONCE", at_once)
        assert gallery.check(on_progress=lambda *step, steps=steps: steps.append(step)) == whole
        assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.check(on_progress=stop)
