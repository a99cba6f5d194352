"""The index of sidecars says what the disk says, whatever happens to either, and reads only what has changed."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from PIL import Image
from toy_run import child

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, changes, index_file, reader, sighting_index, vehicle_folder
from reid_lightning.search.gallery.index_file import NAME, NOTES
from reid_lightning.search.gallery.summary import summary_of
from reid_lightning.search.gallery.vehicle_folder import is_picture
from reid_lightning.search.stores.base import INDEX_FOLDER

OLD = 1e9  # a time of change that can be relied on


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine crashes here."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


def filled(root: Path, *, vehicles: int = 3) -> Gallery:
    gallery = Gallery(root)
    for number in range(2 * vehicles):
        one = sighting(f"a{number}", f"V{number // 2}", start=60.0 * number, end=60.0 * number + 5)
        gallery.add(one, pictures())
    return gallery


def grow_old(root: Path) -> None:
    """As if nothing had changed for long."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (OLD, OLD))


def database(root: Path) -> Path:
    return root / INDEX_FOLDER / NAME


def slow_list(gallery: Gallery) -> list[object]:
    """Of all sidecars."""
    names = gallery.vehicle_names()
    found = {name: gallery.sightings_of(name, on_problem=lambda problem: None) for name in names}
    return [summary_of(name, sightings) for name, sightings in found.items() if sightings]


def check_agrees(gallery: Gallery) -> None:
    """The index, as a process sees it that comes new, with the disk."""
    new = Gallery(gallery.root)
    expected = slow_list(new)
    assert new.vehicles(on_problem=lambda problem: None) == expected
    numbers = new.statistics()
    assert (numbers.vehicles, numbers.sightings) == (len(expected), sum(one.sightings for one in expected))
    assert numbers.crops == sum(one.crops for one in expected)
    cameras = [one.camera for name in new.vehicle_names() for one in new.sightings_of(name, on_problem=lambda _: None)]
    assert numbers.per_camera == {camera: cameras.count(camera) for camera in sorted(set(cameras))}
    for name in new.vehicle_names():
        for one in new.sightings_of(name, on_problem=lambda problem: None):
            if not is_picture(one):
                assert new.find(one.id) is not None
    assert new.find("nobody") is None


def only_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a gallery of very many vehicles: no folder is compared with the disk unasked."""
    monkeypatch.setattr(reader, "MANY", 0)
    monkeypatch.setattr("reid_lightning.search.gallery.locations.FEW", 0)
    look = sighting_index.SightingIndex.look
    monkeypatch.setattr(
        sighting_index.SightingIndex, "look", lambda self, folders=0, **named: look(self, min(folders, 0), **named)
    )


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


CHANGES: dict[str, Callable[[Gallery], object]] = {
    "add": lambda gallery: gallery.add(sighting("b1", "V0", camera="south"), pictures()),
    "rename": lambda gallery: gallery.rename("V0", "W"),
    "merge": lambda gallery: gallery.merge("V0", "V1", undoable=True),
    "delete": lambda gallery: gallery.delete("V0", undoable=True),
    "delete a sighting": lambda gallery: gallery.delete_sighting(gallery.find("a2"), undoable=True),
    "restore a vehicle": lambda gallery: (gallery.delete("V0", undoable=True), gallery.restore("V0")),
    "restore a sighting": lambda gallery: (
        gallery.delete_sighting(gallery.find("a2"), undoable=True),
        gallery.restore("V1", into="V1"),
    ),
    "take a merge back": lambda gallery: (gallery.merge("V0", "V1", undoable=True), gallery.restore("V0")),
    "take a name back": lambda gallery: (gallery.rename("V0", "W", undoable=True), gallery.restore("V0")),
    "repair": lambda gallery: ((gallery.root / "V0/a0.json").unlink(), gallery.repair(older_than=-1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_one_process_changes_another_sees_without_a_look_at_all_folders(tmp_path: Path, monkeypatch, change: str):
    gallery = filled(tmp_path)
    other = Gallery(tmp_path)
    assert len(other.vehicles()) == 3
    only_notes(monkeypatch)
    CHANGES[change](gallery)
    assert other.vehicles() == slow_list(other)
    check_agrees(gallery)


def _killed(root: str, change: str, at: int) -> None:
    """Dies at the `at`-th rename."""
    real, count = Path.rename, 0

    def rename(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == at:
            os._exit(9)
        return real(self, target)

    Path.rename = rename  # type: ignore[method-assign, assignment]
    CHANGES[change](Gallery(root))


@pytest.mark.parametrize("change", ["merge", "delete", "rename", "delete a sighting", "take a merge back"])
def test_what_a_killed_process_has_left_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    only_notes(monkeypatch)
    for at in (1, 2, 3):
        root = tmp_path / f"{at}"
        other = filled(root)
        other.vehicles()
        process = child(partial(_killed, str(root), change, at))
        process.join(60)
        assert process.exitcode in (0, 9)
        assert other.vehicles() == slow_list(other)
        check_agrees(other)


def test_a_change_while_a_folder_is_read_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    only_notes(monkeypatch)
    slow, quick_one = Gallery(tmp_path), Gallery(tmp_path)
    slow.vehicles()
    real, done = sighting_index.read_rows, []

    def read(root: Path, name: str, earlier: dict) -> object:
        content = real(root, name, earlier)
        if name == "V1" and not done:
            done.append(name)
            quick_one.add(sighting("b2", "V1"), pictures())
            assert [one.sightings for one in quick_one.vehicles()] == [2, 4, 2]
        return content

    Gallery(tmp_path).add(sighting("b1", "V1"), pictures())
    monkeypatch.setattr(sighting_index, "read_rows", read)
    assert [one.sightings for one in slow.vehicles()] == [2, 4, 2] and done
    check_agrees(slow)


def test_a_full_disk_keeps_nobody_from_deleting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(tmp_path)
    other = Gallery(tmp_path)
    other.vehicles()
    real = Path.open

    def full(self: Path, *given, **named):
        if self.name == NOTES:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        only_notes(patched)
        gallery.delete("V1")
        assert [one.id for one in other.vehicles()] == ["V0", "V2"]
    check_agrees(gallery)


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


def test_pages_hold_what_they_show_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(tmp_path, vehicles=5)
    grow_old(tmp_path)
    gallery.vehicles()
    only_notes(monkeypatch)
    (tmp_path / "V3/a6.json").unlink()
    page = Gallery(tmp_path).page(start=2, most=2)
    assert [(one.summary.id, one.summary.sightings) for one in page.vehicles] == [("V2", 2), ("V3", 1)]
    assert (page.fitting, page.total) == (5, 5)
    latest = Gallery(tmp_path).page(reader.Choice(order="last seen"), most=1)
    assert latest.vehicles[0].summary.id == "V4" and latest.vehicles[0].cover == "a8-0.jpg"


def _work(root: str, number: int) -> None:
    gallery = Gallery(root)
    for turn in range(6):
        gallery.add(sighting(f"p{number}-{turn}", f"P{number}"), pictures())
        gallery.add(sighting(f"s{number}-{turn}", "SHARED"), pictures())
        gallery.vehicles(on_problem=lambda problem: None)
    gallery.rename(f"P{number}", f"Q{number}")
    gallery.delete_sighting(gallery.find(f"s{number}-0"))


def test_many_processes_write_and_look_at_once(tmp_path: Path) -> None:
    filled(tmp_path)
    processes = [child(partial(_work, str(tmp_path), number)) for number in range(3)]
    until = time.monotonic() + 120
    while any(process.is_alive() for process in processes) and time.monotonic() < until:
        Gallery(tmp_path).statistics()
        time.sleep(0.2)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    check_agrees(Gallery(tmp_path))
    assert Gallery(tmp_path).statistics().sightings == 6 + 3 * 12 - 3


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
