"""Names of files, vehicles and cameras: one name however its letters are composed, and one that everything can show.

Macs write an é as e and an accent (decomposed), Linux and Windows as one sign (composed). Old disks have names that are
no UTF-8, which Python hands over with surrogates that no file in utf-8 takes.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.redaction import is_address
from reid_lightning.user_messages import is_utf8

LONGEST_NAME = 1024  # bytes, as the vector stores take them
NAME = f"a name of {LONGEST_NAME:,} bytes at most, no address"


def composed(text: str) -> str:
    """The text with composed letters (NFC), by which names are compared and kept."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def readable(text: str) -> str:
    """The text with `\\xff` for what is no UTF-8 in a file's name; for whatever is printed, drawn or written."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def name_of_file(name: str) -> str:
    """What a file's name says: `composed` and `readable`. Two files may have one."""
    return composed(readable(name))


def stored_path(folder: Path, name: str) -> Path:
    """The file below `folder` that a list calls `name`, which may be composed otherwise; the path as it is said where
    there is none.

    Raises:
        ReIDError: two files there differ in nothing but this.
    """
    path = folder / name
    if name.isascii() or os.path.lexists(path):
        return path
    place = Path(path.anchor) if path.is_absolute() else Path()
    for part in path.parts[len(place.parts) :]:
        if part.isascii() or os.path.lexists(place / part):
            place /= part
            continue
        found = _listed(place).get(composed(part), ())
        if len(found) > 1:
            raise ReIDError(
                f"{place} has {len(found)} files called {composed(part)!r}, which differ only in how their letters are "
                "composed (é as one sign, or as e and an accent). Rename one of them."
            )
        if not found:
            return path
        place /= found[0]
    return place


def _listed(folder: Path) -> Mapping[str, tuple[str, ...]]:
    try:
        return _listing(str(folder), os.stat(folder).st_mtime_ns)
    except OSError:  # whoever opens the file says so
        return {}


@lru_cache(maxsize=64)
def _listing(folder: str, changed: int) -> Mapping[str, tuple[str, ...]]:
    """The names in a folder with letters beyond ASCII, by their composed form."""
    names: dict[str, tuple[str, ...]] = {}
    for name in os.listdir(folder):
        if not name.isascii():
            names[composed(name)] = (*names.get(composed(name), ()), name)
    return names


def is_name(text: str) -> bool:
    """Whether records can hold it: an address would stand in every one of them, with its password."""
    return bool(text.strip()) and is_utf8(text) and len(text.encode()) <= LONGEST_NAME and not is_address(text)
