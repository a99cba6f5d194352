"""Colours as viewers show them: a picture that carries an ICC profile is turned into sRGB.

A phone writes Display P3, a camera Adobe RGB, a printer's picture has inks: the same numbers are other colours there.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 1 << 22
"""Of a profile that counts: those of printers have up to three million, those of cameras and phones some hundred."""

_KEY = "icc_profile"  # in what Pillow notes of a picture
_CLASSES = ("scnr", "mntr", "prtr", "spac")  # of a device or a colour space; links and effects describe no picture
_MODES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
_FITTING = {"L": ("L", "LA"), "CMYK": ("CMYK",)}
_NOT_RGB = ("CMYK", "LAB")  # grey, palettes and YCbCr are RGB as well
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC  # the perceptual one stretches blacks, which no browser does
_TAGS_END = 132 + 12 * 100  # LittleCMS reads no more of them
_ERRORS = (OSError, TypeError, ValueError, MemoryError, ImageCms.PyCMSError)


def in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """A picture of 8 bits in RGB, or in RGBA where something is transparent, without a profile; it is a new one.

    Args:
        image: in any mode of 8 bits.
        profile: its ICC profile, as `image.info` of the picture in the file has it. None, one of sRGB, a damaged or
            too large one and one of other colours than the picture's change nothing.
    """
    transform = transform_of(profile, image.mode)
    transparent = image.has_transparency_data
    if transform is None:
        shown = image.convert("RGBA" if transparent else "RGB")
        shown.info.pop(_KEY, None)
        return shown
    wanted = transform.input_mode
    with_alpha = image.convert("RGBA") if transparent else None
    coloured = image if with_alpha is None else with_alpha
    shown = transform.apply(coloured if coloured.mode == wanted else coloured.convert(wanted))
    del shown.info[_KEY]
    if with_alpha is not None:
        shown.putalpha(with_alpha.getchannel("A"))
    return shown


def transform_of(profile: object, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns a picture of Pillow's `mode` with this profile into sRGB; None: nothing is to be changed."""
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_PROFILE_BYTES:
        return None
    transform = _transform(profile)
    if transform is None:
        return None
    fitting = _FITTING.get(transform.input_mode)
    fits = mode not in _NOT_RGB if fitting is None else mode in fitting
    return transform if fits else None


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    # As browsers, without the tags of real numbers (D2B1, ...), which may repeat a step half a million times.
    tags = profile[:_TAGS_END].replace(b"D2B", b"d2b")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(tags + profile[_TAGS_END:]))
        mode = _MODES.get(source.profile.xcolor_space)
        if mode is None or source.profile.device_class not in _CLASSES:
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB", _INTENT)
    except _ERRORS:
        return None
    return transform if mode == "CMYK" or _changes(transform, mode) else None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether it changes any colour by more than one level: a profile of sRGB does not, however it is written."""
    if mode == "L":
        image = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        image = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(levels.size, -1, 3))
    difference = np.asarray(transform.apply(image)).astype(int) - np.asarray(image.convert("RGB"))
    return bool(np.abs(difference).max() > 1)
