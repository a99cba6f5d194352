"""Only what lies on a disk is opened or replaced: a pipe that is called car.jpg would be waited for without end, a
device obeys, and would be gone."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class SpecialFileError(OSError):
    """A pipe, a socket or a device, which `kind` is, where a file belongs; `strerror` says so without a full stop."""

    def __init__(self, kind: str, path: str | Path) -> None:
        super().__init__(errno.EINVAL, f"it is {kind} and no file", str(path))
        self.kind = kind


def kind_of(path: str | Path) -> str:
    """What lies there, in words."""
    mode = os.stat(path).st_mode
    return _KINDS.get(stat.S_IFMT(mode), "a folder" if stat.S_ISDIR(mode) else "a file")


def in_words(error: Exception) -> str | None:
    """A sentence about what lies where a file was to be written, or a folder to be made; None: it is not that."""
    if isinstance(error, SpecialFileError):
        return f"{error.filename} is {error.kind}; expected a file, or a name for a new one."
    if not isinstance(error, FileExistsError | NotADirectoryError) or not isinstance(error.filename, str | os.PathLike):
        return None
    path = Path(error.filename)
    found = next((place for place in (path, *path.parents) if place.exists()), None)
    if found is None or found.is_dir():
        return None
    return f"{found} is {kind_of(found)}; expected a folder, or a name for a new one."


def check_regular(path: str | Path) -> None:
    """To be called before a file that somebody named is opened, by ourselves or by a library, or replaced.

    Links are followed. Files, folders, and names under which there is nothing, pass: whoever opens them says the rest.

    Raises:
        SpecialFileError: it is a pipe, a socket or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise SpecialFileError(kind, path)


def open_regular(path: str | Path) -> FileIO:
    """The file, to be read without a buffer. OSError: it cannot be opened, or is no file (`SpecialFileError`)."""
    check_regular(path)
    return open(path, "rb", buffering=0)


def read_regular(path: Path) -> bytes:
    """All bytes of the file. OSError: as `open_regular`."""
    check_regular(path)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The text of a file in utf-8, with or without a mark in front. OSError: as `open_regular`; UnicodeDecodeError."""
    return read_regular(path).decode("utf-8-sig")
