"""Small pictures as the browser gets them; of registered crops all of one size, made once."""

from __future__ import annotations

import io
from pathlib import Path

import streamlit as st
from PIL import Image, ImageFilter, ImageOps

from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError

SIZE = (240, 180)
MOST_BYTES = 1 << 26
"""Of all small pictures that are remembered."""
LARGEST = 1 << 15
"""Bytes: noise alone comes near it."""
_BLUR = 8  # pixels


def thumbnail(path: Path) -> bytes | None:
    """The picture within 240 x 180 pixels, on a blurred one of itself, as JPEG; None where it is gone or damaged."""
    try:
        return _thumbnail(str(path), path.stat().st_mtime_ns)
    except (ReIDError, OSError):
        return None


@st.cache_data(max_entries=MOST_BYTES // LARGEST, show_spinner=False)
def _thumbnail(path: str, changed: int) -> bytes:
    picture = load_image(path)
    canvas = ImageOps.fit(picture, SIZE).filter(ImageFilter.GaussianBlur(_BLUR))
    scale = min(SIZE[0] / picture.width, SIZE[1] / picture.height)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    canvas.paste(picture, ((SIZE[0] - picture.width) // 2, (SIZE[1] - picture.height) // 2))
    return small_jpeg(canvas, max(SIZE))


def small_jpeg(picture: Image.Image, side: int) -> bytes:
    """JPEG, at most `side` pixels on the longer side; the picture itself is made smaller."""
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
