"""How much there is to read before a picture's pixels: Pillow goes through it piece by piece, in Python.

Millions of empty comments fit into a few megabytes, and would take minutes.
"""

from __future__ import annotations

import os
import struct
from io import BytesIO
from typing import BinaryIO

from reid_lightning.untrusted.image_limits import TooCostlyError

MAX_SEGMENTS = 10_000
"""Segments of a JPEG before its first scan, chunks of a PNG beside its pixels, extensions of a GIF before its first
picture, tags of a TIFF."""

_LARGEST_PNG = 1 << 28  # bytes that are held in memory to be read once more
_MAX_PIXEL_CHUNKS = 1 << 18  # of a PNG; usual ones are 8 KiB or more


def check_segments(file: BinaryIO, kind: str | None) -> None:
    """To be called before Pillow opens `file`, of the format `kind`. Afterwards the file stands at its beginning.

    Raises:
        TooCostlyError: there are more than `MAX_SEGMENTS`.
    """
    count = {"JPEG": _jpeg_segments, "PNG": _png_chunks, "GIF": _gif_extensions, "TIFF": _tiff_tags}.get(kind or "")
    file.seek(0)
    if count is not None and count(file) > MAX_SEGMENTS:
        raise TooCostlyError(f"its header has more than {MAX_SEGMENTS:,} parts, where a picture has a few")
    file.seek(0)


def png_without_profile(file: BinaryIO) -> BytesIO | None:
    """A PNG without its ICC profile, one that is damaged or above 1 MiB being an error to Pillow, and to no viewer.

    None: there is none, or the file has more than `_LARGEST_PNG` bytes.
    """
    file.seek(0)
    content = file.read(_LARGEST_PNG + 1)
    place, profile = 8, None
    while profile is None and place + 12 <= len(content) <= _LARGEST_PNG:
        length, name = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if name == b"iCCP":
            profile = slice(place, end)
        elif name == b"IDAT":
            return None
        place = end
    return None if profile is None else BytesIO(content[: profile.start] + content[profile.stop :])


def _jpeg_segments(file: BinaryIO) -> int:
    """What Pillow steps over one by one: segments, and bytes between them that belong to nothing."""
    file.seek(2)
    for steps in range(MAX_SEGMENTS + 1):
        sign = file.read(1)
        if not sign:
            return steps
        if sign != b"\xff":
            continue
        marker = file.read(1)
        if marker == b"\xff":
            file.seek(-1, os.SEEK_CUR)
        elif marker and 0xC0 <= marker[0] <= 0xFE and not 0xD0 <= marker[0] <= 0xD9:  # these are without a length
            if marker[0] == 0xDA:
                return steps
            length = file.read(2)
            file.seek(max(0, int.from_bytes(length, "big") - 2), os.SEEK_CUR)
    return MAX_SEGMENTS + 1


def _png_chunks(file: BinaryIO) -> int:
    file.seek(8)
    pixels = others = 0
    while others <= MAX_SEGMENTS and len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"fdAT", b"fcTL"):
            pixels += 1
            if pixels > _MAX_PIXEL_CHUNKS:
                return MAX_SEGMENTS + 1
        else:
            others += 1
        if name == b"IEND":
            break
        file.seek(length + 4, os.SEEK_CUR)
    return others


def _gif_extensions(file: BinaryIO) -> int:
    head = file.read(13)
    if len(head) == 13 and head[10] & 0x80:
        file.seek(3 << (head[10] & 7) + 1, os.SEEK_CUR)
    for count in range(MAX_SEGMENTS + 1):
        if file.read(1) != b"!":
            return count
        file.read(1)
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    return MAX_SEGMENTS + 1


def _tiff_tags(file: BinaryIO) -> int:
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    offset, count = ("Q", "Q") if 0x2B in head[2:4] else ("I", "H")  # BigTIFF, or the usual one
    start = 8 if offset == "Q" else 4
    if len(head) < start + struct.calcsize(offset):
        return 0
    file.seek(min(struct.unpack_from(order + offset, head, start)[0], 1 << 62))
    counted = file.read(struct.calcsize(count))
    return int(struct.unpack(order + count, counted)[0]) if len(counted) == struct.calcsize(count) else 0
