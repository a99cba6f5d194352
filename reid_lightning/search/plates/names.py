"""Names of vehicles that are safe as names of folders, on every file system and whatever was read or typed.

Letters of any script, digits, `-` and `_` remain, so no name leaves its folder or hides in it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates.patterns import is_plausible, normalise

MAX_BYTES = 64
"""Of UTF-8; file systems take 255, and paths have limits of their own."""

_DIGITS = re.compile(r"[0-9a-f]{16}")
_DIGITS_OF_A_PLATE = 2
_UNKNOWN = re.compile(r"unknown-[0-9a-f]{16}", re.IGNORECASE | re.ASCII)
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""What shows nothing though it counts as a letter or a mark: fillers and variation selectors."""
_BETWEEN = re.compile("[\\s.\\-\u2010-\u2015\u2212\u00b7\u2022\u2027\u2219\u22c5\u30fb]+")
"""What people write between the groups of a plate: spaces, dots and dashes of any kind."""
_RESERVED = re.compile(r"CON|PRN|AUX|NUL|(COM|LPT)[0-9]")  # of Windows, whatever comes after a dot


def folder_name(text: str) -> str:
    """The folder's name for a plate or for a name that someone typed: `my van/2` becomes `MY_VAN_2`.

    Upper case, because some file systems do not tell `a` from `A`; compatibility characters (full width, ligatures)
    become plain ones. Control, invisible and direction characters go; spaces, dots, separators and all other signs
    become one `_` between what remains. Names over 64 bytes are cut and end in a hash of the whole, so that two of them
    stay two. Names that Windows keeps for devices get `VEHICLE_` before them. `unknown-` names stay as they are:
    nothing else here has lower case, and plates have no dash. A name that came out of here comes out unchanged.

    Raises:
        ReIDError: nothing remains.
    """
    if _UNKNOWN.fullmatch(text):
        return text.lower()
    name = _tidy(_fold(text))
    if not name:
        raise ReIDError(f"{text[:80]!r} cannot name a folder; expected at least one letter or digit.")
    if _RESERVED.fullmatch(name):
        name = f"VEHICLE_{name}"
    if len(name.encode()) > MAX_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8].upper()
        start = name.encode()[: MAX_BYTES - len(digest) - 1].decode(errors="ignore")
        name = f"{start.rstrip('-_')}_{digest}"
    return name


def vehicle_name(text: str) -> str:
    """The one name of a vehicle, whoever gives it: a plate, as read or as printed, or any other name.

    A text that may be a plate (`is_plausible`, with two digits at least: `blue 2` is a name) once spaces, dots and
    dashes between its letters and digits are gone is that plate: `LS15 EBC` becomes `LS15EBC`, `京A·12345` becomes
    `京A12345`. All else becomes what `folder_name` makes of it: `my van/2` becomes `MY_VAN_2`. A name that came out of
    here comes out unchanged, and with `_` in it a name is never taken for a plate.

    Raises:
        ReIDError: nothing remains.
    """
    name = folder_name(text)
    for written in (text, name):
        joined = _BETWEEN.sub("", _fold(written))
        plate = normalise(joined)
        digits = sum(map(str.isdigit, plate))
        if joined.isalnum() and is_plausible(plate) and digits >= _DIGITS_OF_A_PLATE:
            return folder_name(plate)
    return name


def plate_name(text: str) -> str:
    """`folder_name` without `_` and `-`, to look for short plates with as well: `B-X 1` becomes `BX1`, as plates are
    read. ReIDError: nothing remains."""
    name = folder_name(text)
    return name if _UNKNOWN.fullmatch(name) else name.replace("_", "").replace("-", "")


def unknown_name(sighting_id: str) -> str:
    """`unknown-` and 16 hexadecimal digits: the name of a vehicle whose plate nobody could read, the same every time.

    The digits are the sighting's id itself, or a hash of one that is no such digits: at city scale fewer would put
    strangers into one folder.
    """
    is_plain = _DIGITS.fullmatch(sighting_id) is not None
    return f"unknown-{sighting_id if is_plain else hashlib.sha256(sighting_id.encode()).hexdigest()[:16]}"


def given_name(sighting_id: str, plate: str | None) -> str | None:
    """What a sighting's vehicle is called where nobody gives it another name; None: by nothing, with such a plate."""
    try:
        return unknown_name(sighting_id) if plate is None else vehicle_name(plate)
    except ReIDError:
        return None


def _fold(text: str) -> str:
    """One spelling for all that a file system may take for the same name: folding once may bring up more to fold."""
    without = _INVISIBLE.sub("", text)
    visible = "".join(character for character in without if unicodedata.category(character) not in ("Cf", "Cs", "Cc"))
    before = None
    while visible != before:
        before, visible = visible, unicodedata.normalize("NFKC", visible.casefold().upper())
    return visible


def _tidy(text: str) -> str:
    kept = "".join(
        character if unicodedata.category(character)[0] in "LNM" or character == "-" else "_" for character in text
    )
    tidy = re.sub(r"_*-[-_]*", "-", re.sub(r"_+", "_", kept))
    while tidy and (tidy[0] in "-_" or unicodedata.category(tidy[0])[0] == "M"):
        tidy = tidy[1:]
    return tidy.rstrip("-_")
