"""Small pictures of crops for cards, all of one size, made once."""

from __future__ import annotations

import io
from pathlib import Path

import streamlit as st
from PIL import Image

from reid_lightning.data.images import load_image
from reid_lightning.errors import ReIDError

SIZE = (240, 180)


def thumbnail(path: Path) -> bytes | None:
    """The picture within 240 x 180 pixels, the rest transparent, as PNG; None where it is gone or damaged."""
    try:
        return _thumbnail(str(path), path.stat().st_mtime_ns)
    except (ReIDError, OSError):
        return None


@st.cache_data(max_entries=4096, show_spinner=False)
def _thumbnail(path: str, changed: int) -> bytes:
    picture = load_image(path)
    scale = min(SIZE[0] / picture.width, SIZE[1] / picture.height)
    picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    canvas = Image.new("RGBA", SIZE)
    canvas.paste(picture, ((SIZE[0] - picture.width) // 2, (SIZE[1] - picture.height) // 2))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
