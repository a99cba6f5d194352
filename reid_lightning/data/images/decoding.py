"""Files to pixels, and pixels to a size, at a third of Pillow's time and within one level of 255 of its numbers.

Plain JPEGs are decoded by libjpeg-turbo directly, with the settings that Pillow uses (the pixels are equal), and
resized by torch's antialiased uint8 kernels, which follow Pillow's. Whatever is not plain is left to `load_image`: one
behaviour and one set of messages.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.nn import functional

from reid_lightning.data.images.colour_profiles import transform_of
from reid_lightning.data.images.reading import load_image
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import PicturePath
from reid_lightning.regular_files import read_regular
from reid_lightning.untrusted.image_limits import is_sensible_size
from reid_lightning.untrusted.jpeg_markers import has_many_scans, jpeg_header

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_IN_TORCH = ("bilinear", "bicubic")


def decode(path: PicturePath) -> np.ndarray:
    """The file's picture, upright, uint8 (H, W, 3) in RGB; the pixels and the errors of `load_image`."""
    try:
        data = path.read_bytes() if isinstance(path, PackedPicture) else read_regular(path)
        if _is_plain_jpeg(data):
            return simplejpeg.decode_jpeg(data)  # strict: whatever Pillow might see differently is an error here
    except (OSError, ValueError):
        pass  # Pillow decides whether the file is damaged, and says so
    return np.array(load_image(path))


def resize(pixels: np.ndarray, height: int, width: int, *, interpolation: str = "bilinear") -> np.ndarray:
    """uint8 (H, W, 3) -> uint8 (height, width, 3), antialiased like Pillow's.

    "bilinear" is one level off Pillow's at most, "bicubic" a few at sharp edges; "nearest" and "lanczos" are Pillow's
    own.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if interpolation not in _IN_TORCH:
        return resize_exactly(Image.fromarray(pixels), height, width, interpolation=interpolation)
    # numbered before it is turned: the strides then say channels-last, which is four times as fast
    images = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    resized = functional.interpolate(images, (height, width), mode=interpolation, align_corners=False, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def resize_exactly(image: Image.Image, height: int, width: int, *, interpolation: str) -> np.ndarray:
    """Pillow's own resize of an RGB picture -> uint8 (height, width, 3)."""
    return np.array(image.resize((width, height), INTERPOLATIONS[interpolation]))


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether a JPEG has three components of 8 bits and sensible cost, and nothing that may turn it (Exif, XMP) or
    changes its colours (an ICC profile other than sRGB)."""
    header = jpeg_header(data)
    return (
        header is not None
        and (header.bits, header.components, header.app1) == (8, 3, False)
        and is_sensible_size(header.width, header.height)
        and (header.one_scan or not has_many_scans(data))
        and transform_of(header.profile, "RGB") is None
    )
