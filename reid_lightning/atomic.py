"""Files that appear whole or not at all: readers see the old one or the new one, never a half."""

from __future__ import annotations

import ctypes
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_lightning.regular_files import check_regular

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
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.getvalue())
    return path


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
