"""ICC profiles made by hand, as no library at hand makes them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_NOTHING = b"matf" + struct.pack(">4xHH12f", 3, 3, *[0] * 12)
BLACK_BY_REAL_NUMBERS = b"mpet" + struct.pack(">4xHHIII", 3, 3, 1, 24, len(_NOTHING)) + _NOTHING
"""For the tag D2B1: every colour is black."""
_LEVELS = np.linspace(0, 1, 1024)
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)
SRGB_TABLE = b"curv" + struct.pack(">4xI1024H", 1024, *np.rint(_LINEAR * 65_535).astype(int).tolist())
"""The curve of sRGB, for the tags rTRC, gTRC and bTRC."""


def profile(space: bytes, tags: Mapping[bytes, bytes], *, kind: bytes = b"mntr", between: bytes = b"XYZ ") -> bytes:
    """Of version 2.4; `between` is the space that the tags lead to."""
    start = 132 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(content), 0x2400000, kind, space, between)
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + table + content


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65_536) for value in values))


def tags_of(content: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", content, 128)
    entries = [struct.unpack_from(">4sII", content, 132 + 12 * number) for number in range(count)]
    return {name: content[start : start + size] for name, start, size in entries}


def turned(primaries: str, *, more: Mapping[bytes, bytes] | None = None) -> bytes:
    """sRGB with its primaries in another order: "gbr" has green where red was. `more` are further tags."""
    tags = tags_of(SRGB)
    moved = {b"%cXYZ" % place: tags[b"%cXYZ" % name] for place, name in zip(b"rgb", primaries.encode(), strict=True)}
    return profile(b"RGB ", {**tags, **moved, **(more or {})})


def grey(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    return profile(b"GRAY", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": curve})


def inks(corners: np.ndarray) -> bytes:
    """Of four inks. `corners` (16, 3) are the sRGB colours of none or all of each, the first ink slowest."""
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    levels = np.array(ImageCms.applyTransform(Image.fromarray(corners[None].astype(np.uint8)), lab)) ^ [0, 128, 128]
    straight, colours = bytes(range(256)), levels.astype(np.uint8).tobytes()
    unit = struct.pack(">9i", *(65_536 * (place % 4 == 0) for place in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + straight * 4 + colours + straight * 3
    return profile(b"CMYK", {b"wtpt": xyz(0.9642, 1, 0.8249), b"A2B0": table}, kind=b"prtr", between=b"Lab ")
