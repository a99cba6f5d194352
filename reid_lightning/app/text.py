"""Texts that came from outside (plates, file names, cameras), made harmless for Streamlit's Markdown."""

from __future__ import annotations

import re

from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.tables import date as date
from reid_lightning.errors import count as count

_SIGNS = re.compile(r"([!-/:-@\[-`{-~])")  # all of ASCII's punctuation, which Markdown lets a backslash precede


def plain(text: object) -> str:
    """Shows as it is written: no Markdown, no HTML, no link, no formula, no emoji code; one line."""
    return _SIGNS.sub(r"\\\1", plain_text(str(text)))
