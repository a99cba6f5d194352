"""Files of a gallery that appear whole or not at all, also after a crash of the machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reid_lightning.errors import ReIDError

INDEX_FOLDER = ".index"
"""The vectors of a gallery, unless they are kept elsewhere."""
UNFINISHED = ".part"
LOCK = ".lock"
"""Who holds it in a gallery's folder is the only one to add, rename, move or remove sightings."""
_LOCK_POLL = 0.01  # seconds
_LOCK_SECONDS = 600.0  # a killed process lets go of it; rewriting a large store takes a while


def save(path: Path, content: bytes) -> None:
    """Write under a hidden name, flush to the disk, rename; nothing is left of it where that fails."""
    with staged(path.parent, [content]) as (unfinished,):
        unfinished.replace(path)


@contextmanager
def staged(folder: Path, contents: Sequence[bytes]) -> Iterator[list[Path]]:
    """Files of these contents, flushed to the disk under hidden names in `folder`, to be renamed to what they are.
    Those that were not are removed at the end."""
    files = [hidden_beside(folder / "any") for _ in contents]
    try:
        for path, content in zip(files, contents, strict=True):
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        yield files
    finally:
        for path in files:
            path.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system knows no hard links."""
    unfinished = hidden_beside(target)
    try:
        try:
            os.link(source, unfinished)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(source, unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def hidden_beside(path: Path) -> Path:
    """A name that no reader looks at and no other writer uses."""
    return path.with_name(f".{uuid.uuid4().hex}{UNFINISHED}")


def flush_folder(folder: Path) -> None:
    """Make renames in a folder last; a file system that cannot do it is taken as it is."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time. The lock of a killed process is free again. Any thread may let go of it."""
    lock = FileLock(path, timeout=_LOCK_SECONDS, thread_local=False)
    try:
        lock.acquire(poll_interval=_LOCK_POLL)
    except Timeout as error:
        raise ReIDError(f"{path} has been locked by another process for {_LOCK_SECONDS:g} s; wait for it.") from error
    except OSError as error:
        raise ReIDError(f"{path} cannot be locked: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
