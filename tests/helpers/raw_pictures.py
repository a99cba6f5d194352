"""TIFF and PNG files of any depth, which no library at hand writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

WIDTHS = {3: "H", 4: "I"}  # of TIFF's short and long numbers


def packed(values: np.ndarray, bits: int) -> bytes:
    """Whole numbers (rows, ...) of so many bits each, most significant bit first; rows begin at whole bytes."""
    rows = values.reshape(len(values), -1).astype(np.uint32)
    return np.packbits((rows[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(rows), -1).astype(np.uint8), axis=1)


def tiff(
    values: np.ndarray,
    *,
    bits: int | None = None,
    photometric: int = 1,
    order: str = "<",
    planes: bool = False,
    compressed: bool = False,
    tags: Mapping[int, list[int]] | None = None,
) -> bytes:
    """A TIFF of one strip, or one for each plane, with the numbers (height, width) or (height, width, channels)."""
    height, width, channels = (*values.shape, 1)[:3]
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    parts = [values[..., channel] for channel in range(channels)] if planes else [values]
    strips = [
        bytes(packed(part, bits)) if bits else np.ascontiguousarray(part, part.dtype.newbyteorder(order)).tobytes()
        for part in parts
    ]
    strips = [zlib.compress(strip) for strip in strips] if compressed else strips
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits or values.itemsize * 8] * channels),
        259: (3, [8 if compressed else 1]),
        262: (3, [photometric]),
        273: (4, [0] * len(strips)),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [2 if planes else 1]),
        339: (3, [kind] * channels),
        **{tag: (3, numbers) for tag, numbers in (tags or {}).items()},
    }
    place = 8 + 2 + 12 * len(entries) + 4 + sum(_size(*entry) for entry in entries.values() if _size(*entry) > 4)
    entries[273] = (4, [place + sum(map(len, strips[:number])) for number in range(len(strips))])
    directory, further = b"", b""
    for tag, (form, numbers) in sorted(entries.items()):
        content = struct.pack(order + WIDTHS[form] * len(numbers), *numbers)
        if len(content) > 4:
            further += content
            content = struct.pack(order + "I", 8 + 2 + 12 * len(entries) + 4 + len(further) - len(content))
        directory += struct.pack(order + "HHI", tag, form, len(numbers)) + content.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "IH", 8, len(entries)) + directory + bytes(4)
    return head + further + b"".join(strips)


def png(
    values: np.ndarray, *, bits: int = 8, colour_type: int = 0, chunks: Mapping[bytes, bytes] | None = None
) -> bytes:
    """A PNG with the numbers (height, width) or (height, width, channels) and `chunks` before its pixels."""
    rows = [bytes(row) for row in packed(values, bits)]
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = {b"IHDR": head, **(chunks or {}), b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in content.items())


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _size(form: int, numbers: list[int]) -> int:
    return struct.calcsize(WIDTHS[form]) * len(numbers)
