"""Texts that came from outside (plates, file names, cameras), made harmless for Streamlit's Markdown."""

from __future__ import annotations

import re
from datetime import datetime

from reid_lightning.drawing.fonts import plain_text
from reid_lightning.errors import count as count

_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")  # all of ASCII's punctuation, which Markdown lets a backslash precede


def plain(text: object) -> str:
    """Shows as it is written: no Markdown, no HTML, no link, no formula, no emoji code; one line."""
    return _SIGNS.sub(r"\\\1", plain_text(str(text)))


def date(seconds: float | None) -> str:
    """Seconds since 1970 as local time; empty where nobody knows it."""
    try:
        return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"
