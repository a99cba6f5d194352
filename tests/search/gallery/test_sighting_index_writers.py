"""The index of sidecars says what the disk says while processes change the gallery, and where they are killed."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from gallery_files import pictures, sighting
from indexed_gallery import check_agrees, filled, only_notes, slow_list
from toy_run import PATIENCE, child, exit_codes

from reid_lightning.search.gallery import Gallery, sighting_index
from reid_lightning.search.gallery.index_file import NOTES

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

pytestmark = pytest.mark.usefixtures("no_crashes")


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
        assert exit_codes(process)[0] in (0, 9)
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
    until = time.monotonic() + PATIENCE
    while any(process.is_alive() for process in processes) and time.monotonic() < until:
        Gallery(tmp_path).statistics()
        time.sleep(0.2)
    assert exit_codes(*processes) == [0, 0, 0]
    check_agrees(Gallery(tmp_path))
    assert Gallery(tmp_path).statistics().sightings == 6 + 3 * 12 - 3
