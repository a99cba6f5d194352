"""Small pictures as the browser gets them."""

from __future__ import annotations

import io

from PIL import Image


def small_jpeg(picture: Image.Image, side: int) -> bytes:
    """JPEG, at most `side` pixels on the longer side; the picture itself is made smaller."""
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
