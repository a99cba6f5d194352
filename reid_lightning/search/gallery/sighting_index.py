"""An index of a gallery's sidecars, derived from them and kept beside the vectors, so that nobody reads all of them.

It is never the truth. Whoever changes the gallery writes the vehicles' names into a file of notes first, and who looks
next reads their folders again; what people change by hand is seen by the folders' times of change. An index that is
missing, damaged or of another version is made again, and where none can be kept there is one in memory.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import TypeVar

from reid_lightning.atomic import locked
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.sighting_rows import SETTLED, file_name, file_state, read_rows, state_of
from reid_lightning.search.gallery.sighting_table import (
    VERSION,
    fact,
    make,
    put,
    rows_of,
    set_facts,
    version_of,
    written,
)
from reid_lightning.search.gallery.vehicle_folder import vehicle_folders
from reid_lightning.search.records import OnProgress, unseen
from reid_lightning.search.stores.base import INDEX_FOLDER
from reid_lightning.user_messages import is_utf8

LOCK = ".lock"
"""Who holds it in a gallery's folder is the only one to add, rename, move or remove sightings."""
PREFIX = ".sightings."
"""Of the names of its files in the gallery's INDEX_FOLDER."""
NAME, NOTES = f"{PREFIX}sqlite", f"{PREFIX}changed"
"""The index, and the notes of what changed."""
FEW, MANY = 300, 5000
"""Folders that a look for one sighting, and one for a list, compares with the disk beside those that are noted."""

_PART = 200  # folders read between two writes
_BUSY_SECONDS = 60.0
_FULL = (EACCES, EPERM, EROFS)
_NO_SUCH_TABLE = 1  # SQLITE_ERROR
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class SightingIndex:
    """Of the gallery `root`, for any number of threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / INDEX_FOLDER
        self._path, self._notes = self._folder / NAME, self._folder / NOTES
        self._using = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int, int] | None = None  # process, device and inode of an open index; None: in memory
        self._in_memory = root.parent.name == trash.FOLDER
        self._held: int | None = None  # the thread that holds the gallery's lock

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else changes the gallery meanwhile. OSError, ReIDError: it cannot be locked."""
        with locked(self._root / LOCK):
            self._held = threading.get_ident()
            try:
                yield
            finally:
                self._held = None

    @contextmanager
    def still(self) -> Iterator[None]:
        """The same; nobody is asked where there is nothing, where it cannot be written, or inside of `changing`."""
        with ExitStack() as stack:
            if self._root.is_dir() and self._held != threading.get_ident():
                try:
                    stack.enter_context(self.changing())
                except ReIDError as error:
                    if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _FULL:
                        raise
            yield

    def note(self, *vehicles: str) -> None:
        """Write down that the folders of these vehicles are about to change; to be called inside of `changing`."""
        lines = "".join(f"{json.dumps(vehicle)}\n" for vehicle in vehicles)
        if not self._folder.is_dir():
            return
        try:
            with self._notes.open("a", encoding="ascii") as file:
                file.write(lines)
        except OSError:  # a full disk must not keep anybody from deleting: the index is made again
            self._close()
            for path in (self._path, self._notes):
                with suppress(OSError):
                    path.unlink()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` makes of the index; it is called again where that turned out to be damaged.

        Raises:
            ReIDError: the gallery's folder cannot be read, or whoever changes it does not come to an end.
        """
        for attempt in itertools.count():
            with self._using:
                is_open = self._is_open() or self._is_opened(may_make=False)
            if not is_open:
                with self.still(), self._using:  # in this order: who changes the gallery looks as well
                    self._is_opened(may_make=True)
            try:
                with self._using:
                    if self._db is not None:
                        return work(self._db)
            except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as error:
                self._make_again(error, give_up=attempt > 1 or not _is_damage(error))
        raise AssertionError  # the loop ends by itself

    def look(self, folders: int = FEW, *, on_progress: OnProgress = unseen, everything: bool = False) -> None:
        """See what has changed since the last look.

        Args:
            folders: that are compared with the disk; in a gallery of more than that others come at later looks.
            on_progress: is called where folders are read.
            everything: also every file of folders that are as they were.
        """
        self._take_notes()
        self.read(lambda db: self._look(db, folders, on_progress, everything))

    def look_at(self, vehicles: Sequence[str]) -> bool:
        """See what has changed in these folders; returns whether anything has."""
        self._take_notes()
        return self.read(lambda db: self._look_at(db, vehicles))

    def forget(self) -> None:
        """Remove the index; the next look makes it again."""
        with self.still(), self._using:
            self._close()
            self._remove()

    def _look(self, db: sqlite3.Connection, folders: int, on_progress: OnProgress, everything: bool) -> None:
        boot = _boot()
        is_new = fact(db, "boot") != boot  # notes are not flushed to the disk, and may be gone
        (last,) = db.execute("SELECT MAX(id) FROM folders").fetchone()
        is_whole = is_new or everything or self._file is None or (last or 0) <= folders
        self._list(db, is_small=is_whole)
        self._mark(db, self._compared(db, None if is_whole else folders))
        if everything:
            self._mark_files(db)
        if is_new:
            with suppress(sqlite3.OperationalError), written(db):
                set_facts(db, boot=boot)
        self._read_marked(db, on_progress)

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

    def _take_notes(self) -> None:
        """Mark the folders that were noted as changed, while nobody is changing any."""
        if _size(self._notes):
            with self.still():
                self.read(self._take)

    def _take(self, db: sqlite3.Connection) -> None:
        if self._file is None:
            return
        lines = self._notes.read_text(encoding="ascii").splitlines()
        names = dict.fromkeys(json.loads(line) for line in lines if line.endswith('"'))
        with written(db):
            db.executemany(
                "INSERT INTO folders(name) VALUES (?) ON CONFLICT DO UPDATE SET dirty = 1, version = version + 1",
                ((name,) for name in names if is_utf8(name)),
            )
        os.truncate(self._notes, 0)

    def _list(self, db: sqlite3.Connection, *, is_small: bool) -> None:
        """Which folders there are, where the gallery's own has changed."""
        now, is_settled = state_of(self._root)
        state = None if now is None else f"{now[0]} {now[1]}"
        settled = fact(db, "root_settled")
        if state is not None and fact(db, "root") == state:
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

    def _is_open(self) -> bool:
        if self._db is None:
            return False
        if self._file is None:
            return self._in_memory or not self._root.is_dir()
        return self._file == _identity(self._path)  # else another one has taken its place

    def _is_opened(self, *, may_make: bool) -> bool:
        """Open the index that is there, if it is one of this version; with `may_make`, inside of `still`, make one,
        in memory where none can be kept."""
        if may_make and self._is_open():
            return True
        self._close()
        try:
            if not self._in_memory and self._root.is_dir():
                self._db = self._usable()
                if self._db is None and may_make:
                    self._remove()
                    self._folder.mkdir(exist_ok=True)
                    self._notes.touch()  # from here on whoever changes the gallery writes it down
                    self._db = _connected(str(self._path))
                    make(self._db)
                if self._db is not None:
                    self._file = _identity(self._path)
                return self._db is not None
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        if may_make:
            self._db = _connected(":memory:")
            make(self._db)
        return may_make

    def _usable(self) -> sqlite3.Connection | None:
        if not _is_file(self._path) or not _is_file(self._notes):
            return None
        db = _connected(str(self._path))
        try:
            if version_of(db) == VERSION:
                return db
        except sqlite3.OperationalError:
            db.close()
            raise
        except sqlite3.DatabaseError:
            pass
        db.close()
        return None

    def _make_again(self, why: Exception, *, give_up: bool) -> None:
        if self._file is None and not isinstance(why, OSError | sqlite3.Error):
            raise why
        if give_up:
            return self._give_up(why)
        _logger.info("The index of sidecars of %s is made again: %s", self._root, why)
        broken = self._file
        with self.still(), self._using:
            self._close()
            try:
                if broken == _identity(self._path):  # else somebody else has done it
                    self._remove()
            except OSError as error:
                self._give_up(error)
        return None

    def _give_up(self, why: Exception) -> None:
        """Keep it in memory from now on."""
        with self._using:
            if self._file is None and self._in_memory:
                raise ReIDError(f"The gallery {self._root} cannot be listed: {why}.") from why
            _logger.debug("The index of sidecars of %s is kept in memory: %s", self._root, why)
            self._close()
            self._in_memory = True

    def _remove(self) -> None:
        """Database first: SQLite drops the journal of one that is not there."""
        for path in (self._path, self._path.with_name(f"{NAME}-journal"), self._notes):
            if path.is_dir() and not path.is_symlink():
                path.rename(path.with_name(f"{PREFIX}{time.time_ns()}.odd"))
            else:
                path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._db is not None and (self._file is None or self._file[0] == os.getpid()):
            self._db.close()  # one of before a fork belongs to the parent
        self._db = self._file = None


def _connected(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -32768")
    db.execute("PRAGMA secure_delete = ON")  # what is removed for good shall be in no free page, either
    return db


def _is_damage(error: Exception) -> bool:
    """Else an index cannot be read, written or locked where it is, or its disk is full."""
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", 0) == _NO_SUCH_TABLE
    return not isinstance(error, OSError)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return os.getpid(), found.st_dev, found.st_ino


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _boot() -> str:
    """Another text after the machine was started again, where that can be known."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
