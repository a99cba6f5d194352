"""What the markers of a JPEG say, without decoding it: the size and the ICC profile of its picture, and how often its
pixels are gone over.

Read as libjpeg reads them, or not at all: what a file hides between two readings would pass every limit.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

MAX_SCANS = 50
"""Of a JPEG. A progressive one has about ten, of four inks 18; each walks over the whole picture for a few bytes."""

_START_OF_SCAN, _APP1, _APP2 = 0xDA, 0xE1, 0xE2
_PROFILE = b"ICC_PROFILE\0"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; others are left to Pillow
_PROGRESSIVE = 0xC2
_WITH_A_LENGTH = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # and the two that end a file; restarts stand within a scan
_ENDS = (0xD8, 0xD9)  # the end, or a second beginning, at which libjpeg gives up
_MAX_SEGMENTS = 10_000  # of a file with many scans, so that counting them costs nothing either


class JpegHeader(NamedTuple):
    """What stands before the first scan."""

    bits: int
    height: int
    width: int
    components: int
    one_scan: bool
    """The first scan holds everything, and libjpeg takes no second."""
    app1: bool
    """There is Exif or XMP, which may turn the picture."""
    profile: bytes
    """The ICC profile before the frame, put together as Pillow does; empty where there is none, or not all of it."""


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header at the start of `data`; None: it is no JPEG, no plain one, or `data` ends before its first scan."""
    if data[:2] != b"\xff\xd8":
        return None
    position, frame, app1 = 2, None, False
    parts: list[bytes] = []
    profile = b""
    for _ in range(_MAX_SEGMENTS):
        if position + 10 > len(data) or data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            if frame is None:
                return None
            kind, bits, height, width, components = frame
            one_scan = kind != _PROGRESSIVE and data[position + 4] == components
            return JpegHeader(bits, height, width, components, one_scan, app1, profile)
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:  # these are without a length
            return None
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _APP1:
            app1 = True
        elif marker == _APP2 and data.startswith(_PROFILE, position + 4):
            parts.append(data[position + 4 + len(_PROFILE) : end])
        elif marker in _FRAMES:
            frame = (marker, *struct.unpack_from(">BHHB", data, position + 4))
            profile = _joined(parts)
        position = end
    return None


def _joined(parts: list[bytes]) -> bytes:
    """Of a profile. Each part begins with its number and with how many there are."""
    parts = sorted(parts)
    whole = bool(parts) and len(parts[0]) > 1 and parts[0][1] == len(parts)
    return b"".join(part[2:] for part in parts) if whole else b""


def has_many_scans(data: bytes) -> bool:
    """Whether a whole JPEG has more than `MAX_SCANS`. Previews in its header and what follows its end do not count."""
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return False
    position, scans = 2, 0
    for _ in range(_MAX_SEGMENTS):
        found = _WITH_A_LENGTH.search(data, position)
        if found is None or found[1][0] in _ENDS:
            return False
        scans += found[1][0] == _START_OF_SCAN
        if scans > MAX_SCANS:
            return True
        position = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return True
