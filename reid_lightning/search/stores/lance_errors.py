"""What LanceDB raises and prints, sorted by its cause: what a user can do about it follows from that.

Its Rust side panics on some damaged files: such a panic comes as an exception that is not even an `Exception`, and is
printed by the thread that it ended.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reid_lightning.errors import ReIDError, first_line
from reid_lightning.redaction import without_password
from reid_lightning.search.stores.base import INDEX_FOLDER, DamagedStoreError, StoreError

_PLACE = re.compile(r"[\s,]*\S+\.rs:\d+(:\d+)?")  # in the library's source, which its messages end with
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_NEWER = re.compile(r"(?i)upgrade|unsupported (?:file )?version|not supported by this version")
_PANIC = re.compile(  # what Rust prints of one, with RUST_BACKTRACE too
    rb"\n?thread '[^'\n]*' (?:\(\d+\) )?panicked at [^\n]*\n[^\n]*\n(?:stack backtrace:\n(?: +[^\n]*\n)*)?"
    rb"(?:note: [^\n]*\n)?"
)
_quiet = threading.RLock()

_FIXED_BY = {
    errno.ENOSPC: "The disk is full: free some space there.",
    errno.EDQUOT: "The disk quota is used up: free some space there.",
    errno.EACCES: "You lack the rights for it: take them, or start this as their owner.",
    errno.EPERM: "You lack the rights for it: take them, or start this as their owner.",
    errno.EROFS: "The disk is read-only: make it writable, or keep the vectors elsewhere (stores.uri).",
    errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
    errno.ENFILE: "Too many files are open: close some.",
    errno.ESTALE: "The network disk has let go of the file: mount it again.",
}
_REBUILD = "The vectors are damaged; the pictures are not touched. Make them again: {command}"
_COMMAND = "reid gallery rebuild gallery=<folder> bundle=<folder>"


def is_engine_error(error: BaseException) -> bool:
    """Whether it is an error or a panic of the library, and no Ctrl-C."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def reported(error: BaseException, uri: str, *, done: str) -> StoreError:
    """The error of a user for one of the library; `done`: what could not be done with the store."""
    reason = _PLACE.sub("", without_password(first_line(error))).rstrip(". ")
    if "panic" in type(error).__name__.lower():
        reason = "its engine stopped at what it found there"
    begin = f"The vector store {uri} cannot be {done}: {reason}."
    advice = _elsewhere(error, reason, uri)
    if advice is not None:
        return StoreError(f"{begin} {advice}")
    return damaged(begin)


def damaged(what: str) -> DamagedStoreError:
    """With what fixes it."""
    return DamagedStoreError(f"{what} {_REBUILD.format(command=_COMMAND)}")


def _elsewhere(error: BaseException, reason: str, uri: str) -> str | None:
    """What to do where the cause lies outside of the store's files; None: these are damaged."""
    if (temporary := _no_temporary_folder()) is not None:
        return temporary
    number = error.errno if isinstance(error, OSError) else None
    found = _OS_ERROR.search(str(error))
    number = int(found[1]) if found else number
    if number in _FIXED_BY:
        return _FIXED_BY[number]
    if isinstance(error, MemoryError):
        return "It needs more memory than there is."
    if "://" in uri:
        if _NEWER.search(reason) or "panic" in type(error).__name__.lower():
            return None
        return (
            "Is this the address, can its host be reached from here, and are region and credentials right (environment "
            "variables such as AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)?"
        )
    if not os.path.isdir(uri):
        what = "is no folder" if os.path.lexists(uri) else "is not there any more"
        again = f", or make it again: {_COMMAND}" if Path(uri).name == INDEX_FOLDER else ""
        return f"{uri} {what}; put it back{again}."
    return None


def _no_temporary_folder() -> str | None:
    """The library keeps what does not fit into memory where TMPDIR says, and panics if it cannot."""
    folder = os.environ.get("TMPDIR") or "/tmp"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"Temporary files cannot be written to {folder} ({error.strerror}): set TMPDIR to a folder that can."


@contextmanager
def without_panics_shown() -> Iterator[None]:
    """Within it what Rust prints of a panic does not reach the terminal; all else does, at the end.

    For short calls: standard error is a file meanwhile, for all threads.
    """
    with _quiet:
        try:
            terminal, kept = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
        except OSError:  # no standard error, or no room for a file
            terminal = None
        if terminal is None:
            yield
            return
        try:
            os.dup2(kept.fileno(), 2)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            with suppress(OSError), kept:
                kept.seek(0)
                _pass_on(_PANIC.sub(b"", kept.read()))


def _pass_on(words: bytes) -> None:
    while words:
        words = words[os.write(2, words) :]


def check_name(uri: str, name: str) -> None:
    """Raises `ReIDError` for a folder or a table's name that no engine could take."""
    if "\0" in uri:
        raise ReIDError(f"The store's URI is {uri!r}; expected a folder's name, which holds no NUL.")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or Path(name).name != name or name.startswith("."):
        raise ReIDError(
            f"The table of the vectors (stores.name, --name) is {name!r}; expected a name of letters, digits, "
            "underscores, hyphens and periods that does not begin with a period."
        )
