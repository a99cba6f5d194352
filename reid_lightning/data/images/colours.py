"""A picture as a person sees it: upright, in sRGB of 8 bits a channel, and what is transparent laid on one colour.

What is hidden does not count: under a transparent part there may be anything. And black and white follow from how a
file stores its numbers, never from what this one picture shows, so that pictures stay comparable; where nothing says
which number is white, the picture is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from reid_lightning.data.images.colour_profiles import in_srgb
from reid_lightning.data.images.formats import DECODE_ERRORS

BACKGROUND = (128, 128, 128)
"""Of what is transparent: near the mean that networks take off, so that a cut-out car is little but the car."""

_BAND_PIXELS = 1 << 20  # of deep grey that is turned into 8 bits at once
_LEAST_USED = 1 << 14  # the brightest value of a picture of 16 bits, unless it is black
_WHITES = tuple((1 << bits) - 1 for bits in range(8, 17))
_COMPRESSION = 259  # this and the next ones: numbers of TIFF tags
_SUBFILE, _BITS, _PHOTOMETRIC, _PLANAR, _EXTRA, _SAMPLE_FORMAT, _DNG = 254, 258, 262, 284, 338, 339, 50706
_MAX_SAMPLE_VALUES = (341, 281)  # SMaxSampleValue, MaxSampleValue
_SHALLOW = {"L;2": 85, "L;4": 17}  # levels between two values of grey PNGs
_DEEP_COLOURS = re.compile("(RGB|CMYK|LA).?;16")
_PLANES = ("L", "P", "RGB", "CMYK")  # modes whose separate planes Pillow reads right
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_NOTE = "_reid_raw_mode"
_FIX = "save it with 8 bits a channel"


def as_seen(image: Image.Image) -> Image.Image:
    """The picture in sRGB, without an ICC profile; the one that came is not changed.

    The profile that it carries says which colours its numbers are (`in_srgb`); deep pictures follow it in 8 bits.
    Grey of 16 bits keeps its upper 8, grey of fewer in 16 is stretched where a TIFF names its white (4095 for 12
    bits), and real numbers count from 0 (black) to 1 (white).

    Hand over what Pillow has opened and not loaded. It forgets with loading or copying that a PNG had colours of 16
    bits, or fewer than 8: those of 14 bits or fewer in 16 are then dark, where they would be refused before. A TIFF
    that is loaded and no copy is still known by its tags.

    Raises:
        ValueError: nothing says which number is white: 32 bits, signed numbers, values of 14 bits or fewer in 16, real
            numbers beyond 0 and 1; or it is a camera's raw file. The message says so without a full stop.
        One of `DECODE_ERRORS`: it is loaded only now, and damaged.
    """
    profile = image.info.get("icc_profile")
    stored = _raw_mode(image)  # of a picture that is not loaded yet; afterwards Pillow knows no more
    deep = _DEEP_COLOURS.match(stored) is not None or _has_deep_tags(image)
    _check_tiff(image)
    lower = _lower_bytes(image) if stored == "RGB;16B" and "transparency" in image.info else None
    turned = upright(image)
    if turned.mode == "RGB" and "transparency" not in turned.info and not deep:
        return in_srgb(turned, profile)
    if turned.mode == "I":
        raise ValueError(f"its numbers have a sign or 32 bits, so that nobody knows which one is white; {_FIX}")
    if turned.mode == "F" or turned.mode.startswith("I;"):
        return _laid_on_background(_deep_grey(turned, image, stored), profile)
    if deep:
        _check_upper_bits(turned, image)
    if lower is not None:
        turned = _with_hidden(turned, upright(lower))
    elif "transparency" in turned.info:
        if (not stored or deep) and image.format in ("PNG", None):  # None: a copy
            _check_loaded_transparency(turned, deep=deep)
        turned = _with_scaled_transparency(turned, stored, deep=deep)
    return _laid_on_background(turned, profile)


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says, or itself; a damaged EXIF block counts as none."""
    image.load()
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
        return ImageOps.exif_transpose(image) if turned else image  # which otherwise makes a copy
    except DECODE_ERRORS:
        return image


def _raw_mode(image: Image.Image) -> str:
    """How the file stores its pixels, in Pillow's words such as "RGB;16B"; "" for a picture that others have loaded.

    It is noted on the picture, which is loaded here, so that a second look says the same as the first."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return str(image.__dict__.get(_NOTE, ""))
    args = tiles[0][3]
    first = args[0] if isinstance(args, tuple) and args else args
    image.__dict__[_NOTE] = first if isinstance(first, str) else ""
    return str(image.__dict__[_NOTE])


def _has_deep_tags(image: Image.Image) -> bool:
    """Whether a TIFF has several channels of more than 8 bits; also of one that is loaded."""
    bits = _tags(image).get(_BITS, (1,))
    return len(bits) > 1 and max(bits) > 8


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return image.tag_v2 if isinstance(image, TiffImageFile) else {}


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow takes for something else: a preview for the picture, numbers with a sign for others, planes of
    16 bits for planes of 8."""
    if not isinstance(image, TiffImageFile):
        return
    tags = _tags(image)
    if tags.get(_SUBFILE, 0) & 1 or _DNG in tags:
        raise ValueError("it is a camera's raw file, of which only a preview could be read; save it as JPEG")
    formats = tags.get(_SAMPLE_FORMAT, (1,))
    if 2 in (formats if isinstance(formats, tuple) else (formats,)):
        raise ValueError(f"its numbers have a sign, so that nobody knows which one is white; {_FIX}")
    bits = tags.get(_BITS, (1,))
    if tags.get(_PLANAR) == 2 and len(bits) > 1:
        if max(bits) > 8:
            raise ValueError(f"its channels of more than 8 bits lie in separate planes, which are not read; {_FIX}")
        if not (image.mode in _PLANES or (image.mode == "RGBA" and tags.get(_EXTRA) == (2,))):
            kind = "transparency" if image.mode in _WITH_ALPHA else f"{image.mode} colours"
            raise ValueError(f"its channels lie in separate planes, which are not read with {kind}; save it as PNG")
    if _raw_mode(image) == "F;32BF" and tags.get(_COMPRESSION, 1) != 1:  # whose bytes it would turn round twice
        raise ValueError(f"its real numbers are compressed with their first byte in front, which is not read; {_FIX}")


def _deep_grey(turned: Image.Image, opened: Image.Image, stored: str) -> Image.Image:
    """Grey of 9 to 16 bits or of real numbers in 8 bits, with its alpha; by bands of rows: it is never held once more
    in its depth."""
    if turned.mode == "F":
        low, high = cast("tuple[float, float]", turned.getextrema())
        if not (low >= -1 / 255 and high <= 1 + 1 / 255):
            raise ValueError(
                f"its real numbers go from {low:g} to {high:g}, and only 0 (black) to 1 (white) are read; {_FIX}"
            )
        grey = _by_bands(turned, lambda band: np.rint(band.clip(0, 1) * 255))
    elif (white := _white(turned, opened, stored)) == 65_535:
        grey = _by_bands(turned, lambda band: band >> 8)
    else:
        grey = _by_bands(turned, lambda band: (band.astype(np.uint32) * 255 + white // 2) // white)
    if isinstance(opened, TiffImageFile) and _tags(opened).get(_PHOTOMETRIC, 0) == 0:  # white is zero
        grey = 255 - grey
    shown = Image.fromarray(grey)
    hidden = turned.info.get("transparency")
    if isinstance(hidden, int):
        shown.putalpha(Image.fromarray(_by_bands(turned, lambda band: np.where(band == hidden, 0, 255))))
    return shown


def _white(turned: Image.Image, opened: Image.Image, stored: str) -> int:
    brightest = max((int(band.max(initial=0)) for _, band in _bands(turned)), default=0)
    white = 4095 if stored == "I;12" else _named_white(opened)
    if white is None and 0 < brightest < _LEAST_USED:
        raise ValueError(
            f"none of its values of 16 bits is above {brightest:,}, as from a camera of {brightest.bit_length()} bits "
            f"or fewer, so that nobody knows which one is white; {_FIX}, or name the white in the TIFF tag "
            "SMaxSampleValue"
        )
    if white is not None and brightest > white:
        raise ValueError(f"it has values up to {brightest:,}, above the white of {white:,} that it names; {_FIX}")
    return white or 65_535


def _named_white(opened: Image.Image) -> int | None:
    """What a TIFF names as its largest value, where that is the largest of some number of bits: others write here what
    is the largest in this picture."""
    tags = _tags(opened)
    for tag in _MAX_SAMPLE_VALUES:
        value = tags.get(tag)
        value = max(value, default=None) if isinstance(value, tuple) else value
        if value in _WHITES:
            return int(value)
    return None


def _check_upper_bits(turned: Image.Image, opened: Image.Image) -> None:
    """Of colours of 16 bits Pillow keeps the upper 8, in which those of a camera of 14 bits or fewer are nearly
    black."""
    extrema = turned.getextrema()
    alpha = turned.mode in _WITH_ALPHA
    channels = extrema if isinstance(extrema[0], tuple) else (extrema,)
    colours = channels[: len(channels) - alpha]
    brightest = [max(high for _, high in colours), *([channels[-1][1]] if alpha else [])]
    if _named_white(opened) not in (None, 65_535) or any(0 < high < _LEAST_USED >> 8 for high in brightest):
        raise ValueError(f"its values of 16 bits use 14 or fewer, so that nobody knows which one is white; {_FIX}")


def _with_scaled_transparency(turned: Image.Image, stored: str, *, deep: bool) -> Image.Image:
    """The colour that counts as transparent, in the depth that Pillow has turned the picture into."""
    hidden = turned.info["transparency"]
    if isinstance(hidden, int) and stored in _SHALLOW:
        scaled: Any = hidden * _SHALLOW[stored]
    elif isinstance(hidden, tuple) and deep:
        scaled = tuple(value >> 8 for value in hidden)
    else:
        return turned
    changed = turned.copy()
    changed.info["transparency"] = scaled
    return changed


def _check_loaded_transparency(turned: Image.Image, *, deep: bool) -> None:
    """Refuse a loaded PNG whose transparent colour is still in the depth of its file: one of 16 bits, or a grey that
    counts to 15 where all greys are those of 2 or 4 bits."""
    hidden = turned.info["transparency"]
    deep = isinstance(hidden, tuple) and (deep or max(hidden, default=0) > 255)
    shallow = turned.mode == "L" and isinstance(hidden, int) and 0 < hidden < 16
    if deep or (shallow and not any(count for level, count in enumerate(turned.histogram()) if level % 17)):
        raise ValueError("Pillow has loaded it and forgotten of how many bits its transparent colour is; open it again")


def _lower_bytes(image: Image.Image) -> Image.Image | None:
    """The lower 8 bits of a PNG with colours of 16, of which Pillow gives the upper 8: it believes that the other byte
    comes first."""
    stream = getattr(image, "fp", None)
    if image.format != "PNG" or stream is None:
        return None
    lower = Image.open(stream, formats=["PNG"])
    lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]
    lower.load()
    return lower


def _with_hidden(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """The picture of the upper bytes, transparent where all 16 bits are those of the transparent colour."""
    hidden = np.array(upper.info["transparency"])
    same = ((np.asarray(upper) == hidden >> 8) & (np.asarray(lower) == hidden & 255)).all(axis=-1)
    shown = upper.copy()
    del shown.info["transparency"]
    shown.putalpha(Image.fromarray(np.where(same, 0, 255).astype(np.uint8)))
    return shown


def _laid_on_background(image: Image.Image, profile: object) -> Image.Image:
    """In sRGB, of which transparent parts show the background."""
    if image.mode == "La":  # which Pillow turns into nothing else
        image = image.convert("LA")
    coloured = in_srgb(image, profile)
    if coloured.mode == "RGB":
        return coloured
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(coloured, mask=coloured)
    return canvas


def _by_bands(image: Image.Image, levels: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """uint8 (height, width): what `levels` gives for each band of rows."""
    changed = np.empty((image.height, image.width), np.uint8)
    for top, band in _bands(image):
        changed[top : top + len(band)] = levels(band)
    return changed


def _bands(image: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, numbers of some rows)."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        yield top, np.asarray(image.crop((0, top, width, min(top + rows, height))))
