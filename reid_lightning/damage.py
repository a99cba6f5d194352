"""Whether every byte of a checkpoint is as it was written: torch compares no checksums when it loads."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

_DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)  # all of these come out of zipfile on damaged bytes


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, in a few words, or None when every byte of it is as it was written.

    torch.load itself takes a file with changed bytes: it checks the list of contents and not the sums of the contents.
    A file that would unpack to more than it holds, as none that torch has written, counts as damaged too.
    """
    try:
        size = path.stat().st_size
        archive = zipfile.ZipFile(path)
    except OSError as error:
        return f"not readable: {error.strerror or error}"
    except _DAMAGE:  # the list of contents stands at the end
        return f"cut short after {size:,} bytes" if size else "empty"
    with archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return "packed, which torch writes no checkpoint"
        if sum(entry.file_size for entry in entries) > size:
            return "it says that more is in it than its size allows"
        try:
            changed = archive.testzip()
        except _DAMAGE as error:
            return f"its bytes have changed: {error}"
    return None if changed is None else f"its bytes have changed, in {changed}"
