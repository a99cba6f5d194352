"""An index of a gallery's sidecars, derived from them and kept beside the vectors, so that nobody reads all of them.

It is never the truth. Whoever changes the gallery writes the vehicles' names into a file of notes first, and who looks
next reads their folders again; what people change by hand is seen by the folders' times of change. An index that is
missing, damaged or of another version is made again, and where none can be kept there is one in memory.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from reid_lightning.search.gallery.index_file import IndexFile
from reid_lightning.search.gallery.sighting_rows import SETTLED, State, file_name, file_state, read_rows, state_of
from reid_lightning.search.gallery.sighting_table import fact, put, rows_of, set_facts, written
from reid_lightning.search.gallery.vehicle_folder import vehicle_folders
from reid_lightning.search.records import OnProgress, unseen

FEW, MANY = 300, 5000
"""Folders that a look for one sighting, and one for a list, compares with the disk beside those that are noted."""

T = TypeVar("T")
_PART = 200  # folders read between two writes
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SightingIndex(IndexFile):
    """An index file that is compared with the disk."""

    _seen: sqlite3.Connection | None = None  # at the last look

    def look(self, folders: int = FEW, *, on_progress: OnProgress = unseen, everything: bool = False) -> None:
        """See what has changed since the last look.

        Args:
            folders: that are compared with the disk; in a gallery of more than that others come at later looks.
            on_progress: is called where folders are read.
            everything: also every file of folders that are as they were.
        """
        self._take_notes()
        self.read_as_it_is(lambda db: self._look(db, folders, on_progress, everything))

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` makes of the index, after a look if it is another one than at the last: somebody may be making it
        again. ReIDError: as `read_as_it_is`."""

        def after_a_look(db: sqlite3.Connection) -> T:
            if self._seen is not db:
                self._look(db, FEW, unseen, False)
            return work(db)

        return self.read_as_it_is(after_a_look)

    @contextmanager
    def making(self, vehicle: str) -> Iterator[None]:
        """The folder of a vehicle is made, after a look and inside of `changing`: the next look need not list all for
        it. What people put beside it by hand in that very moment is seen when all is listed again, seconds later."""
        was_known = self.read_as_it_is(lambda db: fact(db, "root") == _root_of(state_of(self._root)[0]))
        yield
        if was_known:
            self.read_as_it_is(lambda db: self._made(db, vehicle))

    def _made(self, db: sqlite3.Connection, vehicle: str) -> None:
        state = _root_of(state_of(self._root)[0])
        if fact(db, "root") != state:
            with written(db):
                db.execute("INSERT OR IGNORE INTO folders(name) VALUES (?)", (vehicle,))
                set_facts(db, root=state, root_settled=0)

    def look_at(self, vehicles: Sequence[str]) -> bool:
        """See what has changed in these folders; returns whether anything has."""
        self._take_notes()
        return self.read_as_it_is(lambda db: self._look_at(db, vehicles))

    def _look(self, db: sqlite3.Connection, folders: int, on_progress: OnProgress, everything: bool) -> None:
        boot = _boot()
        is_new = fact(db, "boot") != boot  # notes are not flushed to the disk, and may be gone
        (last,) = db.execute("SELECT MAX(id) FROM folders").fetchone()
        is_whole = is_new or everything or self._file is None or (last or 0) <= folders
        self._list(db, is_small=is_whole, everything=everything)
        self._mark(db, self._compared(db, None if is_whole else folders))
        if everything:
            self._mark_files(db)
        if is_new:
            with suppress(sqlite3.OperationalError), written(db):
                set_facts(db, boot=boot)
        self._read_marked(db, on_progress)
        self._seen = db

    def _look_at(self, db: sqlite3.Connection, vehicles: Sequence[str]) -> bool:
        before = db.execute("SELECT COUNT(*), MAX(value) FROM facts WHERE name = 'step'").fetchone()
        some = [
            row
            for name in vehicles
            for row in db.execute("SELECT id, name, inode, changed FROM folders WHERE name = ?", (name,))
        ]
        self._mark(db, some)
        self._read_marked(db, unseen)
        after = db.execute("SELECT COUNT(*), MAX(value) FROM facts WHERE name = 'step'").fetchone()
        return bool(before != after)

    def _list(self, db: sqlite3.Connection, *, is_small: bool, everything: bool) -> None:
        """Which folders there are, where the gallery's own has changed, or `everything` is looked at."""
        now, is_settled = state_of(self._root)
        state = _root_of(now)
        settled = fact(db, "root_settled")
        if state is not None and fact(db, "root") == state and not everything:
            is_young = now is not None and abs(time.time_ns() - now[1]) <= SETTLED
            if settled or (is_young and not is_small):
                return
        names, problems = vehicle_folders(self._root)
        known = {name for (name,) in db.execute("SELECT name FROM folders")}
        new, gone = set(names) - known, known - set(names)
        if not new and not gone and fact(db, "root") == state and settled == int(is_settled):
            return
        with written(db):
            db.executemany("INSERT OR IGNORE INTO folders(name) VALUES (?)", ((name,) for name in new))
            db.executemany(
                "UPDATE folders SET dirty = 1, version = version + 1 WHERE name = ?", ((one,) for one in gone)
            )
            set_facts(db, root=state, root_settled=int(is_settled), root_problems=len(problems))

    def _compared(self, db: sqlite3.Connection, most: int | None) -> list[tuple[int, str, int | None, int | None]]:
        """Folders to compare with the disk: all, or as many as may be, from any of them on."""
        what = "SELECT id, name, inode, changed FROM folders WHERE NOT dirty"
        if most is None:
            return db.execute(what).fetchall()
        (last,) = db.execute("SELECT MAX(id) FROM folders").fetchone()
        first = random.randrange(last or 1)
        return db.execute(f"{what} AND id > ? ORDER BY id LIMIT ?", (first, most)).fetchall()

    def _mark(self, db: sqlite3.Connection, some: Iterable[tuple[int, str, int | None, int | None]]) -> None:
        """Mark the folders that are not as they were, to be read."""
        root = f"{self._root}{os.sep}"
        self._mark_all(
            db,
            [
                number
                for number, name, inode, changed in some
                if inode is None or state_of(root + name)[0] != (inode, changed)
            ],
        )

    def _mark_files(self, db: sqlite3.Connection) -> None:
        """The same for folders of which a file is not as it was."""
        what = (
            "SELECT id, name, file, rows.inode, rows.changed, size FROM rows JOIN folders ON id = folder "
            "WHERE NOT dirty"
        )
        root, changed = f"{self._root}{os.sep}", set()
        for number, name, file, *state in db.execute(what):
            if number not in changed and file_state(f"{root}{name}{os.sep}{file_name(file)}") != tuple(state):
                changed.add(number)
        self._mark_all(db, sorted(changed))

    def _mark_all(self, db: sqlite3.Connection, numbers: Sequence[int]) -> None:
        if numbers:
            with written(db):
                db.executemany(
                    "UPDATE folders SET dirty = 1, version = version + 1 WHERE id = ? AND NOT dirty",
                    ((number,) for number in numbers),
                )

    def _read_marked(self, db: sqlite3.Connection, on_progress: OnProgress) -> None:
        (total,) = db.execute("SELECT COUNT(*) FROM folders WHERE dirty").fetchone()
        done = 0
        while part := db.execute("SELECT id, name, version FROM folders WHERE dirty LIMIT ?", (_PART,)).fetchall():
            on_progress(min(done, total), max(done, total))
            found = [
                (number, version, read_rows(self._root, name, rows_of(db, number))) for number, name, version in part
            ]
            with written(db):
                for number, version, content in found:
                    put(db, number, version, content)
            done += len(part)
        if done:
            on_progress(done, max(done, total))


def _root_of(state: State | None) -> str | None:
    """A folder's state as a fact."""
    return None if state is None else f"{state[0]} {state[1]}"


def _boot() -> str:
    """Another text after the machine was started again, where that can be known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
