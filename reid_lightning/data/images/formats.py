"""Which pictures are read, by what a file holds and not by what it is called; the one list of formats and endings."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from reid_lightning.errors import shortened
from reid_lightning.regular_files import check_regular, open_regular
from reid_lightning.untrusted.image_limits import check_costs
from reid_lightning.untrusted.image_segments import check_segments, png_without_profile

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF")
"""By Pillow's names. Pillow knows many more, some of which start other programs (EPS)."""

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"),
    *(".avif", ".avifs"),
)
"""Lower-case endings of files that are taken for pictures unseen; others are looked at (`format_of`)."""

MAY_BE_PICTURES = (*IMAGE_SUFFIXES, ".heic", ".heif")
"""Endings that a field for uploads lets through: an AVIF may be called .heic, and HEIC is called what it is."""

_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
HEAD_BYTES = 256  # of a file, by which its format is recognised
_LONGEST_REASON = 300
_BITMAP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # their lengths: "BM" alone begins texts as well
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "Photoshop's PSD",
    **{b"P%d%c" % (kind, blank): "PNM" for kind in range(1, 8) for blank in b" \t\r\n"},
}
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

DECODE_ERRORS = (
    Image.DecompressionBombError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""All of these come out of Pillow's plugins on damaged bytes."""


# Pillow warns of each damaged tag of a file from anywhere, thousands of lines for one picture.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def format_of(head: bytes) -> str | None:
    """The format of a picture that begins with these `HEAD_BYTES`: one of `FORMATS`, another one's name, or None.

    The bytes of a whole file do as well.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and head[14:18] in [struct.pack("<I", length) for length in _BITMAP_HEADERS]:
        return "BMP"
    if head[4:8] == b"ftyp":
        box = head[8 : min(int.from_bytes(head[:4], "big"), HEAD_BYTES)]
        brands = [box[at : at + 4] for at in range(0, len(box), 4) if at != 4]  # the second one is a version
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return "HEIC" if brands and brands[0] in _HEIC_BRANDS else None
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return "a camera's raw file"
    return next((name for beginning, name in _BEGINNINGS.items() if head.startswith(beginning)), None)


def head_of(path: Path) -> bytes:
    """The first bytes of a file. OSError: it cannot be read, or is a pipe, a socket, a device."""
    with open_regular(path) as file:
        return file.read(HEAD_BYTES)


@contextmanager
def opened(file: Path | str | BytesIO, *, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """A picture's header, compared with the limits; nothing is decoded yet.

    Raises, as reading on does, one of `DECODE_ERRORS`, of which `reason` makes words.
    """
    if not isinstance(file, BytesIO):
        check_regular(file)
    with file if isinstance(file, BytesIO) else open(file, "rb") as stream:
        head = stream.read(HEAD_BYTES)
        kind = format_of(head)
        check_segments(stream, kind)
        try:
            image = _image(stream, kind)
        except UnidentifiedImageError as error:
            raise ValueError(_unknown(kind)) from error
        with image:
            check_costs(image, max_pixels=max_pixels)
            yield image


def _image(stream: BinaryIO, kind: str | None) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except (UnidentifiedImageError, ValueError):
        plain = png_without_profile(stream) if kind == "PNG" else None
        if plain is None:
            raise
        return Image.open(plain, formats=FORMATS)


def is_animated(path: Path) -> bool:
    """Whether it is a GIF, WebP, PNG or AVIF of several pictures; not for a damaged one."""
    try:
        with opened(path) as image:
            return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    except DECODE_ERRORS:
        return False


def reason(error: BaseException) -> str:
    """What one of `DECODE_ERRORS` says, without a full stop and the path, which the caller prints."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError | RecursionError):
        return "it takes more memory than there is, as damaged files do"
    return " ".join(shortened(str(error) or type(error).__name__, _LONGEST_REASON).split())


def _unknown(kind: str | None) -> str:
    """Why Pillow knows nothing of a file that is of this format by its first bytes."""
    if kind in FORMATS:
        return f"it begins like {kind}, and is damaged or of a rare kind; save it as JPEG, or as PNG of 8 bits"
    read = ", ".join(FORMATS)
    if kind is not None:
        return f"it is {kind}, which cannot be decoded here; save it in a format that is read ({read})"
    return f"it is not a picture in a format that is read ({read})"
