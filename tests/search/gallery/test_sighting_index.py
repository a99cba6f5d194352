"""The index of sidecars reads only what has changed, and is made again whatever becomes of its file."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from indexed_gallery import check_agrees, database, filled, grow_old

from reid_lightning.search.gallery import Gallery, changes, index_file, vehicle_folder
from reid_lightning.search.gallery.index_file import NOTES
from reid_lightning.search.gallery.listing import statistics_of
from reid_lightning.search.stores.base import INDEX_FOLDER

pytestmark = pytest.mark.usefixtures("no_crashes")


def test_only_what_has_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(tmp_path)
    grow_old(tmp_path)
    Gallery(tmp_path).vehicles()
    read: list[str] = []
    real = vehicle_folder.read_sidecar
    monkeypatch.setattr(vehicle_folder, "read_sidecar", lambda path: read.append(path.name) or real(path))
    new = Gallery(tmp_path)
    new.vehicles(), new.statistics(), new.page(most=2), new.find("a3"), new.find("nobody")
    assert read == []
    gallery.add(sighting("b1", "V1"), pictures())
    assert [one.sightings for one in Gallery(tmp_path).vehicles()] == [2, 3, 2]
    assert read == ["b1.json"]


ODD: dict[str, Callable[[Path], object]] = {
    "no index": lambda path: path.unlink(),
    "an empty one": lambda path: path.write_bytes(b""),
    "other bytes": lambda path: path.write_bytes(b"no database" * 999),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "random pages": lambda path: path.write_bytes(
        path.read_bytes()[:4096] + random.Random(0).randbytes(path.stat().st_size - 4096)
    ),
    "a folder": lambda path: (path.unlink(), path.mkdir(), (path / "x").write_bytes(b"x")),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("/nowhere/at/all")),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "no notes": lambda path: path.with_name(NOTES).unlink(),
    "notes of nonsense": lambda path: path.with_name(NOTES).write_bytes(b'{"\xff\n"V\\q"\n[]\n"'),
    "no folder": lambda path: shutil.rmtree(path.parent),
    "an older version": lambda path: sqlite3.connect(path).execute("PRAGMA user_version = 99").connection.close(),
    "no tables": lambda path: sqlite3.connect(path).execute("DROP TABLE IF EXISTS rows").connection.close(),
}


@pytest.mark.parametrize("damage", ODD)
def test_an_index_in_any_state_is_made_again_and_nothing_is_lost(tmp_path: Path, damage: str) -> None:
    gallery = filled(tmp_path)
    assert len(gallery.vehicles()) == 3
    ODD[damage](database(tmp_path))
    assert len(gallery.vehicles()) == 3  # who has it open
    check_agrees(gallery)
    gallery.rename("V1", "W")
    ODD[damage](database(tmp_path))
    check_agrees(gallery)
    assert database(tmp_path).is_file() and not database(tmp_path).is_symlink()
    assert gallery.find("a2").vehicle == "W"
    assert gallery.add(sighting("a2", "elsewhere"), pictures()) is False


def test_an_index_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    gallery = filled(tmp_path, vehicles=40)
    gallery.vehicles()
    path = database(tmp_path)
    for number in range(8):
        content = bytearray(path.read_bytes())
        place = random.Random(number).randrange(100, len(content) - 5000)
        content[place : place + 5000] = bytes(5000)
        path.write_bytes(bytes(content))
        with_gaps = Gallery(tmp_path)
        assert len(with_gaps.vehicles()) <= 40  # no error; what SQLite does not notice, a look at everything does
        with_gaps.locations.index.forget()
        check_agrees(gallery)


@pytest.mark.parametrize("what", ["connect", "write"])
def test_where_none_can_be_kept_there_is_one_in_memory(tmp_path: Path, monkeypatch, what: str) -> None:
    gallery = filled(tmp_path)
    real = index_file._connected

    def refused(path: str) -> sqlite3.Connection:
        if path != ":memory:" and what == "connect":
            raise sqlite3.OperationalError("unable to open database file")
        db = real(path)
        if path != ":memory:":
            db.execute("PRAGMA query_only = 1")
        return db

    monkeypatch.setattr(index_file, "_connected", refused)
    (tmp_path / "V1/a2.json").rename(tmp_path / "V0/a2.json")
    for crop in (tmp_path / "V1").glob("a2-*"):
        crop.rename(tmp_path / "V0" / crop.name)
    check_agrees(gallery)
    new = Gallery(tmp_path)
    assert [one.sightings for one in new.vehicles()] == [3, 1, 2] and new.find("a2").vehicle == "V0"
    new.delete("V0")
    assert [one.id for one in new.vehicles()] == ["V1", "V2"]


def test_a_gallery_that_is_not_there_yet(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "new")
    assert gallery.vehicles() == [] and gallery.find("a1") is None and gallery.statistics().vehicles == 0
    assert not (tmp_path / "new").exists()
    gallery.add(sighting(), pictures())
    check_agrees(gallery)
    assert database(gallery.root).is_file()


def test_what_is_in_the_trash_gets_no_index(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    entry = gallery.delete("V1", undoable=True)
    kept = Gallery(changes.trash.folder_of(tmp_path, entry))
    assert [one.id for one in kept.vehicles()] == ["V1"] and kept.find("a2") is not None
    assert not (kept.root / INDEX_FOLDER).exists()


def test_what_is_removed_for_good_is_in_the_index_no_more(tmp_path: Path) -> None:
    gallery = filled(tmp_path)
    gallery.add(sighting("b1", "SECRET1", plate="SECRET-1", camera="hidden"), pictures())
    gallery.add(sighting("b2", "V0", plate="SECRET-2", camera="hidden"), pictures())
    gallery.add(sighting("b3", "SECRET3", plate="SECRET-3", camera="hidden"), pictures())
    assert len(gallery.vehicles()) == 5 and b"SECRET" in database(tmp_path).read_bytes()
    gallery.delete("SECRET1")
    gallery.delete_sighting(gallery.find("b2"))
    gallery.delete("SECRET3", undoable=True)
    gallery.purge(gallery.trash())
    for path in database(tmp_path).parent.iterdir():
        assert b"SECRET" not in path.read_bytes() and b"secret" not in path.read_bytes()
    check_agrees(gallery)


def test_what_is_read_of_an_index_that_is_made_again_is_all_of_it(tmp_path: Path) -> None:
    """A rebuild removes it between another reader's look and what that reader asks."""
    gallery = filled(tmp_path)
    index, number = gallery.locations.index, gallery.statistics().sightings
    assert number > 0
    Gallery(gallery.root).locations.index.forget()
    assert statistics_of(index).sightings == number
    Gallery(gallery.root).locations.index.forget()
    one = Gallery(gallery.root).locations.index
    one.read_as_it_is(lambda db: None)  # made, and not filled
    assert statistics_of(index).sightings == number
