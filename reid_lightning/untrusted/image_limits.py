"""What a picture may cost, compared with its headers before anything of it is decoded.

Few bytes can announce many: large dimensions, tiles that are larger than their picture, hundreds of scans.
"""

from __future__ import annotations

import struct
from typing import IO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from reid_lightning.untrusted.jpeg_markers import MAX_SCANS, has_many_scans

MAX_PIXELS = 110_000_000
"""Of a picture: a camera of 100 megapixels writes 102 million. Opening one takes about 1 GB, and 2 GB for a WebP."""

_LARGEST_JPEG = 1 << 28  # bytes: far more than that many pixels need
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SIZE_TAGS = (256, 257, 258, 277, 278, 284, _TILE_WIDTH, _TILE_LENGTH)  # those by which libtiff takes memory


class TooCostlyError(ValueError):
    """A picture over the limits; says what it has and what is read, without a full stop."""


def is_sensible_size(width: int, height: int) -> bool:
    """Whether a picture of this size may be decoded at all."""
    return 0 < width * height <= MAX_PIXELS


def check_costs(image: Image.Image, *, max_pixels: int | None = None) -> None:
    """To be called between `Image.open` and `load`, which decodes. `max_pixels` is `MAX_PIXELS` where none is given.

    Raises:
        TooCostlyError: the picture, or its tiles together, have more than `max_pixels`; or it is a JPEG of more than
            `MAX_SCANS` scans.
    """
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    width, height = image.size
    if width * height > max_pixels:
        raise TooCostlyError(f"it has {width} x {height} pixels, at most {max_pixels:,} are read")
    if isinstance(image, TiffImageFile) and image.fp is not None:
        _check_tiles(image, image.fp, max_pixels)
    elif isinstance(image, JpegImageFile) and image.fp is not None:
        _check_scans(image.fp)


def _check_tiles(image: TiffImageFile, file: IO[bytes], max_pixels: int) -> None:
    """A tile is unpacked as a whole, however little of it lies in the picture. A strip ends with its picture."""
    tags = image.tag_v2
    numbers = _tag_numbers(file, tags.offset, little_endian=tags.prefix == b"II")
    if any(numbers.count(tag) != (tag in tags) for tag in _SIZE_TAGS):
        # libtiff, which unpacks, need not take the one of two that Pillow takes, and knows types that Pillow does not
        raise TooCostlyError("its header gives its size twice, or as no number")
    if _TILE_WIDTH not in tags and _TILE_LENGTH not in tags:
        return
    tile = tags.get(_TILE_WIDTH), tags.get(_TILE_LENGTH)
    if not all(isinstance(side, int) and side > 0 for side in tile):
        raise TooCostlyError("its header gives its tiles no size")
    # Not image.size, which is that of the turned picture. Samples and bits need no look: Pillow opens no picture of
    # more than eight bytes a pixel.
    across, down = (-(-tags[side] // length) * length for side, length in zip((256, 257), tile, strict=True))
    if across * down > max_pixels:
        tiles = f"its tiles of {tile[0]} x {tile[1]} pixels have {across} x {down} together"
        raise TooCostlyError(f"{tiles}, at most {max_pixels:,} are read")


def _tag_numbers(file: IO[bytes], offset: int, *, little_endian: bool) -> list[int]:
    """The numbers of all tags in the directory at `offset` of a TIFF."""
    order = "<" if little_endian else ">"
    before = file.tell()
    try:
        file.seek(2)
        count_format, entry_size = ("Q", 20) if file.read(1) == b"\x2b" else ("H", 12)  # BigTIFF, or the usual one
        file.seek(offset)
        (count,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
        entries = file.read(min(count, 1 << 16) * entry_size)
    finally:
        file.seek(before)
    return [struct.unpack_from(order + "H", entries, start)[0] for start in range(0, len(entries) - 1, entry_size)]


def _check_scans(file: IO[bytes]) -> None:
    before = file.tell()
    try:
        file.seek(0)
        data = file.read(_LARGEST_JPEG + 1)
    finally:
        file.seek(before)
    if len(data) > _LARGEST_JPEG:
        raise TooCostlyError(f"it is a JPEG of more than {_LARGEST_JPEG:,} bytes")
    if has_many_scans(data):
        raise TooCostlyError(f"it is a JPEG of more than {MAX_SCANS} scans, where a progressive one has about ten")
