"""`check` compares the index of sidecars with the disk, and says how they agree again."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from indexed_gallery import check_agrees, database, filled, grow_old, only_notes
from PIL import Image

from reid_lightning.search.gallery import Gallery, sidecar_index_check
from reid_lightning.search.gallery.sighting_rows import read_rows

pytestmark = pytest.mark.usefixtures("no_crashes")


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """Listed, and as it was for long."""
    gallery = filled(tmp_path / "gallery")
    Image.new("RGB", (8, 8)).save(gallery.root / "V2/own.png")
    grow_old(gallery.root)
    gallery.vehicles()
    return gallery


def sync(gallery: Gallery) -> None:
    """What `sync` does with the index of sidecars."""
    Gallery(gallery.root).locations.index.look(everything=True)


def test_what_agrees_is_no_problem_and_nothing_is_made_for_it(gallery: Gallery) -> None:
    assert gallery.check() == [] and Gallery(gallery.root).check() == []
    database(gallery.root).unlink()
    assert Gallery(gallery.root).check() == [] and not database(gallery.root).exists()


def test_a_sidecar_changed_in_place_is_named_until_a_sync(gallery: Gallery) -> None:
    path = gallery.root / "V1/a2.json"
    path.write_text(path.read_text().replace("north", "south"))
    assert gallery.check() == [
        "1 sighting (a2) is in the index of sidecars with other values than on the disk; `sync` fixes it."
    ]
    sync(gallery)
    assert gallery.check() == []
    check_agrees(gallery)


def test_an_index_put_back_from_an_older_copy(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_notes(monkeypatch)  # a large one, whose folders are not all compared at every list
    shutil.copytree(gallery.root / ".index", tmp_path / "older")
    gallery.add(sighting("new", "V0"), pictures())
    gallery.delete_sighting(gallery.find("a2"))
    shutil.rmtree(gallery.root / ".index")
    (tmp_path / "older").rename(gallery.root / ".index")
    grow_old(gallery.root / "V2")
    assert sorted(Gallery(gallery.root).check()) == [
        "1 sighting (a2) is in the index of sidecars, but not on the disk; `sync` fixes it.",
        "1 sighting (new) is not in the index of sidecars, and so in no list; `sync` fixes it.",
    ]
    sync(gallery)
    assert Gallery(gallery.root).check() == []
    check_agrees(gallery)


def test_a_folder_put_in_without_a_trace_in_the_times_is_found_by_sync(gallery: Gallery) -> None:
    before = os.stat(gallery.root)
    made = Gallery(gallery.root.with_name("other"))
    for number in range(5):
        made.add(sighting(f"b{number}", "W"), pictures())
    shutil.copytree(made.root / "W", gallery.root / "W")
    os.utime(gallery.root, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Gallery(gallery.root).check() == [
        "5 sightings (b0, b1, b2, ...) are not in the index of sidecars, and so in no list; `sync` fixes it."
    ]
    sync(gallery)
    assert Gallery(gallery.root).check() == []
    check_agrees(gallery)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE rows SET camera = 'south' WHERE sighting = 'a2'", "1 sighting (a2) is in the index of sidecars with"),
        (
            "DELETE FROM rows WHERE sighting = 'a2'",
            "1 sighting (a2) is not in the index of sidecars, and so in no list",
        ),
        ("UPDATE folders SET sightings = 7 WHERE name = 'V1'", "1 vehicle (V1) is counted in the index of sidecars"),
        ("UPDATE folders SET cameras = '[]'", "3 vehicles (V0, V1, V2) are counted in the index of sidecars otherwise"),
    ],
)
def test_damage_that_nobody_sees_is_named_with_the_file_to_remove(gallery: Gallery, change: str, words: str) -> None:
    with sqlite3.connect(database(gallery.root)) as db:
        db.execute(change)
    db.close()
    sync(gallery)  # which sees no time that has changed
    (problem,) = Gallery(gallery.root).check()
    assert problem.startswith(words)
    assert problem.endswith(f"; remove {database(gallery.root)}, which is made again.")
    database(gallery.root).unlink()
    assert Gallery(gallery.root).check() == []
    check_agrees(gallery)


def test_what_others_change_meanwhile_is_no_problem(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[Callable[[], object]] = [
        lambda: Gallery(gallery.root).add(sighting("new", "V1"), pictures()),
        lambda: Gallery(gallery.root).rename("V2", "W"),
    ]

    def read(root: Path, name: str, earlier: dict):
        while others:
            others.pop()()
        return read_rows(root, name, earlier)

    monkeypatch.setattr(sidecar_index_check, "read_rows", read)
    assert gallery.check() == [] and not others
