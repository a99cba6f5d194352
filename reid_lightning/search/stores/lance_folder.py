"""The folder of a local table: which one it is, who may write to it, and how a new one takes its place."""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reid_lightning.atomic import exchange, flush_folder, locked
from reid_lightning.errors import ReIDError
from reid_lightning.search.stores.base import INDEX_FOLDER, StoreError

_NEW = ".new-"
_LOCK = "lock"
_DOWN = (1 << 64) - 1

Identity = tuple[int, ...]


class TableFolder:
    """Where the table `name` of the store in the folder `uri` lies."""

    def __init__(self, uri: str, name: str) -> None:
        self.store = Path(uri)
        self.table = self.store / f"{name}.lance"
        self._lock, self._whole_lock = self.store / f".{name}.lock", self.store / f".{name}.whole.lock"

    def identity(self) -> Identity | None:
        """Another one after a new table has taken the place; None: there is nothing that could be read."""
        try:
            states = [os.stat(path) for path in (self.table, self.table / "_versions")]
        except (FileNotFoundError, NotADirectoryError):
            return None
        return tuple(number for state in states for number in (state.st_dev, state.st_ino))

    def newest_version(self) -> int:
        """By the names of the manifests, which count down from 2^64 - 1; 0: there are none."""
        names = [path.stem for path in (self.table / "_versions").glob("*.manifest")]
        numbers = [int(name) for name in names if name.isdecimal()]
        return max((number if number < _DOWN // 2 else _DOWN - number for number in numbers), default=0)

    def exists(self) -> bool:
        """Whether anything is there, be it damaged."""
        return os.path.lexists(self.table)

    def locked(self) -> AbstractContextManager[None]:
        """One writer at a time."""
        return _locked(self._lock)

    def locked_whole(self) -> AbstractContextManager[None]:
        """Taken by who puts another table here, or builds an index, for which other writers need not wait; before
        `locked`."""
        return _locked(self._whole_lock)

    def make_store(self, *, make_way: bool = False) -> None:
        """The folder that holds the tables. `make_way`: what has its name in a gallery and is none, such as a link to
        nothing, goes; so do folders where a lock should be."""
        if make_way and self.store.name == INDEX_FOLDER and os.path.lexists(self.store) and not self.store.is_dir():
            self.store.unlink()
        self.store.mkdir(parents=True, exist_ok=True)
        for lock in (self._lock, self._whole_lock):
            if make_way and lock.is_dir():
                _remove(lock)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for a new table, on the same disk, that goes at the end with what is in it then; and so go those of
        killed processes."""
        beside = self.table.resolve().parent if self.table.is_dir() else self.store  # the table may be a link
        folder = beside / f"{_NEW}{uuid.uuid4().hex}"
        with self.locked():
            for left in beside.glob(f"{_NEW}*"):
                if _is_left(left):
                    _remove(left)
            folder.mkdir()
            alive = FileLock(folder / _LOCK, thread_local=False)
            alive.acquire()
        try:
            yield folder
        finally:
            alive.release()
            _remove(folder)

    def put(self, new: Path) -> None:
        """The folder `new` becomes the table, and what was there lies where `new` was, in whatever state it is. To be
        done under the lock."""
        table = self.table.resolve() if self.table.is_dir() else self.table
        if table.is_dir():
            _take_rights(table)  # without which it could not be moved to another folder
        if not os.path.lexists(table):
            new.rename(table)
        elif not exchange(new, table):
            aside = new.with_name(f"{new.name}.old")
            table.rename(aside)
            new.rename(table)
        flush_folder(table.parent)

    def drop(self) -> None:
        """Remove the table. To be done under the lock."""
        if self.exists():
            away = self.store / f"{_NEW}{uuid.uuid4().hex}"
            away.mkdir()
            self.table.rename(away / self.table.name)
            _remove(away)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except ReIDError as error:
            raise StoreError(str(error)) from error
        yield


def _is_left(folder: Path) -> bool:
    """Whether the process that made it is gone."""
    try:
        with FileLock(folder / _LOCK, timeout=0):
            return True
    except (Timeout, OSError):
        return False


def _take_rights(folder: Path) -> None:
    if not folder.is_symlink():
        with suppress(OSError):
            folder.chmod(folder.stat().st_mode | stat.S_IRWXU)


def _remove(path: Path) -> None:
    """With what lies in it, also where folders lack the rights that their owner may give them."""
    if path.is_dir() and not path.is_symlink():
        _take_rights(path)
        for folder, names, _ in os.walk(path):
            for name in names:  # before the walk goes there
                _take_rights(Path(folder, name))
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if os.path.lexists(path):
        raise StoreError(
            f"Vectors that are no longer used lie in {path} and could not be removed: remove it with the rights that "
            "it takes."
        )
