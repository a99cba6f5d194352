"""Files that appear whole or not at all: readers see the old one or the new one, never a half."""

from __future__ import annotations

import ctypes
import io
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock, Timeout

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import check_regular

UNFINISHED = ".part"
_LOCK_POLL = 0.01  # seconds
_LOCK_SECONDS = 600.0  # a killed process lets go of it; rewriting a large store takes a while

if TYPE_CHECKING:
    from PIL import Image

_HERE = -100  # AT_FDCWD: names are relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, with its ending, to write to: it becomes `path` at the end, or goes on errors.

    Nobody can guess the name: in a folder from elsewhere a link may lie in wait for whoever writes to it. A pipe or a
    device at `path` is an OSError: it would be replaced, and `/dev/null` no device any more.
    """
    check_regular(path)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def save_picture(picture: Image.Image, path: Path, **options: Any) -> Path:
    """Write the picture in the format of the path's ending, with Pillow's options for it."""
    from PIL.Image import registered_extensions  # here, for the ranking room writes files and needs no Pillow

    content = io.BytesIO()  # on a full disk Pillow itself leaves a cut JPEG and says nothing
    picture.save(content, format=registered_extensions()[path.suffix.lower()], **options)
    return write_atomically(path, content.getvalue())


def exchange(one: Path, other: Path) -> bool:
    """Swap two names at once, so that there is no moment without either; False where the system cannot.

    Linux can, on most of its file systems (renameat2).
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def check_writable(folder: Path, *, needed_bytes: int = 0) -> None:
    """Fail now rather than after an hour: `folder` can be written and has room for `needed_bytes`."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".write-test-") as probe:  # no name, which a kill would leave
            probe.write(b"\0" * 4096)
            probe.flush()
    except FileNotFoundError as error:
        raise ReIDError(f"cannot write to {folder}: {error.strerror}. Choose a folder that is there.") from error
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ReIDError(
            f"{folder} has {free / 1e6:,.0f} MB free, but this run writes about {needed_bytes / 1e6:,.0f} MB of "
            "checkpoints and bundle. Free some space there, or choose another folder with hydra.run.dir=<folder>."
        )


def cache_folder() -> Path:
    """`reid_lightning` in the user's cache ($XDG_CACHE_HOME, or ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reid_lightning"


def made_once(path: Path, make: Callable[[], object], *, what: str, seconds: float = _LOCK_SECONDS) -> Path:
    """`path`, the file by which a folder of the cache is complete; `make` makes the folder if there is none, in one
    process at a time. `what` is it, for the ReIDError where it cannot be kept; who waits for it, waits for `seconds`.
    """
    folder = path.parent
    if path.is_file():
        return path
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        check_writable(folder.parent)
    except OSError as error:
        raise ReIDError(
            f"{what} cannot be kept in {folder.parent} ({error.strerror}); name another folder for caches by "
            "XDG_CACHE_HOME=<folder>"
        ) from error
    with locked(folder.with_name(f"{folder.name}.lock"), seconds=seconds):
        if not path.is_file():  # of two processes, the second takes what the first has made
            make()
    return path


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write text, in UTF-8, or bytes into a file that appears whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


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
                flush(file)
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


def flush(file: BinaryIO) -> None:
    """Make what is in an open file last."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames in a folder last; a file system that cannot do it is taken as it is."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def locked(path: Path, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """One process at a time; ReIDError for who has waited for `seconds`. The lock of a killed process is free again.
    Any thread may let go of it."""
    lock = FileLock(path, timeout=seconds, thread_local=False)
    try:
        lock.acquire(poll_interval=_LOCK_POLL)
    except Timeout as error:
        raise ReIDError(f"{path} has been locked by another process for {seconds:g} s; wait for it.") from error
    except OSError as error:
        raise ReIDError(f"{path} cannot be locked: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
