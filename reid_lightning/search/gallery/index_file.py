"""The file of an index of sidecars: opened, made again where it is damaged, replaced by one in memory where none can be
kept; and the notes beside it of what is about to change."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import TypeVar

from reid_lightning.atomic import locked
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.sighting_table import VERSION, make, version_of, written
from reid_lightning.search.stores.base import INDEX_FOLDER
from reid_lightning.user_messages import is_utf8

LOCK = ".lock"
"""Who holds it in a gallery's folder is the only one to add, rename, move or remove sightings."""
PREFIX = ".sightings."
"""Of the names of its files in the gallery's INDEX_FOLDER."""
NAME, NOTES = f"{PREFIX}sqlite", f"{PREFIX}changed"
"""The index, and the notes of what changed."""

_BUSY_SECONDS = 60.0
_FULL = (EACCES, EPERM, EROFS)
_NO_SUCH_TABLE = 1  # SQLITE_ERROR
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class IndexFile:
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

    @property
    def path(self) -> Path:
        """Of its file."""
        return self._path

    @property
    def is_kept(self) -> bool:
        """Whether there is a file, damaged or not."""
        return not self._in_memory and _is_file(self._path)

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

    def read_as_it_is(self, work: Callable[[sqlite3.Connection], T]) -> T:
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

    def forget(self) -> None:
        """Remove the index; the next look makes it again."""
        with self.still(), self._using:
            self._close()
            self._remove()

    def _take_notes(self) -> None:
        """Mark the folders that were noted as changed, while nobody is changing any."""
        if _size(self._notes):
            with self.still():
                self.read_as_it_is(self._take)

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
                with suppress(NotADirectoryError):  # a file lies where the index folder should: `rebuild` removes it
                    path.unlink(missing_ok=True)

    def __del__(self) -> None:
        with suppress(Exception):  # at the end of the interpreter nothing is sure
            self._close()

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
