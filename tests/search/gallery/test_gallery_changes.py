"""Renaming, merging and deleting: beside others, and killed anywhere, no sighting is lost or doubled."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from gallery_files import all_files, ids, pictures, sighting
from PIL import Image
from toy_run import child, exit_codes

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, changes
from reid_lightning.search.gallery.changes import NotRemovedError


def test_merging_pictures_of_one_name_keeps_both(gallery: Gallery) -> None:
    for vehicle, colour in (("A", "red"), ("B", "blue")):
        (gallery.root / vehicle).mkdir(parents=True)
        Image.new("RGB", (30, 20), colour).save(gallery.root / vehicle / "car.png")
    moved = gallery.merge("A", "B")
    found = gallery.sightings_of("B")
    assert [one.crops[0].file for one in found] == ["car (2).png", "car.png"]
    assert list(moved.values()) == [found[0].id]
    assert Image.open(gallery.crop_paths(found[0])[0]).getpixel((0, 0)) == (255, 0, 0)


def test_rename_merge_delete(gallery: Gallery) -> None:
    for number, vehicle in enumerate(("A", "B", "B", "C")):
        gallery.add(sighting(f"a{number}", vehicle), pictures())
    assert gallery.rename("A", "d") == {"a0": "a0"}
    assert gallery.merge("B", "D") == {"a1": "a1", "a2": "a2"}
    assert ids(gallery) == {"a3": "C", "a0": "D", "a1": "D", "a2": "D"}
    assert gallery.check() == []
    found = gallery.find("a1")
    gallery.delete_sighting(found)
    gallery.delete_sighting(found)
    gallery.delete("C")
    assert ids(gallery) == {"a0": "D", "a2": "D"}
    assert all_files(gallery.root) == {
        f"D/{name}" for i in (0, 2) for name in (f"a{i}.json", f"a{i}-0.jpg", f"a{i}-1.jpg")
    }


def test_changes_that_make_no_sense_are_errors(gallery: Gallery) -> None:
    with pytest.raises(ReIDError, match="no gallery at"):
        gallery.rename("A", "B")
    gallery.add(sighting("a1", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    with pytest.raises(ReIDError, match="Merge the two"):
        gallery.rename("A", "B")
    with pytest.raises(ReIDError, match="no vehicle 'X'"):
        gallery.merge("A", "X")
    with pytest.raises(ReIDError, match="same vehicle"):
        gallery.merge("A", "a")
    with pytest.raises(ReIDError, match=r"no vehicle '../C'"):
        gallery.delete("../C")
    assert gallery.rename("A", "A") == {}
    assert ids(gallery) == {"a1": "A", "a2": "B"}


def test_what_is_merged_while_somebody_lists_is_no_problem(gallery: Gallery) -> None:
    for number, vehicle in enumerate("ABC"):
        gallery.add(sighting(f"a{number}", vehicle), pictures())
    listing = gallery.sightings()
    first = next(listing)
    gallery.merge("A", "C")
    assert [first.id, *(one.id for one in listing)] == ["a0", "a1", "a2"]


def _killed_merge(root: str, after: int) -> None:
    """Merge A into B; killed when so many steps on the disk are done."""
    steps = 0
    for name in ("link", "flush_folder"):
        done = getattr(changes, name)

        def counted(*paths: Path, done=done) -> None:
            nonlocal steps
            done(*paths)
            steps += 1
            if steps > after:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(changes, name, counted)
    Gallery(root).merge("A", "B")


@pytest.mark.parametrize("after", [0, 2, 3, 5])
def test_a_killed_merge_leaves_each_sighting_once(gallery: Gallery, after: int) -> None:
    for number in range(2):
        gallery.add(sighting(f"a{number}", "A"), pictures())
    gallery.add(sighting("a2", "B"), pictures())
    process = child(partial(_killed_merge, str(gallery.root), after))
    assert exit_codes(process) == [-signal.SIGKILL]
    assert sorted(one.id for one in gallery.sightings()) == ["a0", "a1", "a2"]
    gallery.merge("A", "B")
    gallery.repair(older_than=-1)
    assert ids(gallery) == dict.fromkeys(("a0", "a1", "a2"), "B")
    assert gallery.check() == [] and not (gallery.root / "A").exists()


def _register(root: str, start: int) -> None:
    gallery = Gallery(root)
    for number in range(start, start + 12):
        gallery.add(sighting(f"a{number}", f"V{number % 3}"), pictures())


def test_processes_that_add_and_rename_at_once_lose_and_double_nothing(gallery: Gallery) -> None:
    _register(str(gallery.root), 100)
    processes = [child(partial(_register, str(gallery.root), start)) for start in (0, 6, 12)]
    reader = Gallery(gallery.root)
    for number in range(10):
        reader.merge("V1", "V0")
        reader.rename("V2", f"W{number}")
        try:
            reader.rename(f"W{number}", "V1")
        except ReIDError:  # somebody has added to a V1 meanwhile
            reader.merge(f"W{number}", "V1")
        (gallery.root / "V2").mkdir(exist_ok=True)
    assert exit_codes(*processes) == [0, 0, 0]
    found = sorted(int(one.id[1:]) for one in gallery.sightings())
    assert found == [*range(24), *range(100, 112)]


def test_a_deletion_that_leaves_files_says_where(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add(sighting("a1", "V1"), pictures())
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: None)  # as where a folder in it may not be changed
    with pytest.raises(NotRemovedError, match=r"V1 is out of the gallery, but 3 of its files .*\.deleted"):
        gallery.delete("V1")
    assert gallery.vehicle_names() == []
