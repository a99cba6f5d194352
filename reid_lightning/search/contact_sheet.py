"""All that a search has found on one picture: each crop of the query beside the registered picture it was taken for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from reid_lightning.atomic import save_picture
from reid_lightning.data.images import in_rgb, load_image
from reid_lightning.errors import ReIDError
from reid_lightning.pictures import BACKGROUND, CELL, FAINT, FRAME, GAP, LINE, TEXT
from reid_lightning.search.annotate import colour_of
from reid_lightning.search.fonts import fitted, font_for, plain_text
from reid_lightning.search.records import Match
from reid_lightning.search.results import time_code

ROWS = 200
"""Pairs of a sheet, unless told otherwise."""
_EMPTY = "#e8e8e8"
_TITLE_HEIGHT = 36
_SMALL = 11  # pixels of a font


def contact_sheet(
    path: str | Path,
    rows: Sequence[tuple[np.ndarray | Image.Image, Match]],
    *,
    gallery: str | Path | None = None,
    title: str = "",
    columns: int = 4,
    limit: int = ROWS,
    total: int | None = None,
) -> Path:
    """Draw a pair of pictures for each match: the query's on the left, the registered one on the right, framed in the
    vehicle's colour as in the annotated video; below them vehicle and score, time code, track and camera.

    Args:
        path: the format is that of its ending (.jpg, .png); the file appears whole or not at all.
        rows: a crop (height, width, 3) uint8 RGB or PIL picture, and its match.
        gallery: the folder that a match's `picture` is relative to; None: they are paths themselves. One that cannot be
            read leaves its place empty.
        title: the first line.
        columns: pairs side by side.
        limit: pairs drawn; the title says how many there are in all.
        total: how many there are, where `rows` are only the best of them.
    """
    if columns < 1 or limit < 1:
        raise ReIDError(f"columns is {columns} and limit {limit}; expected 1 or more of both.")
    drawn = rows[:limit]
    width, height = 2 * CELL + 2 * FRAME + 2, CELL + 2 * FRAME + 2 * LINE
    lines = max(1, math.ceil(len(drawn) / columns))
    columns = max(1, min(columns, len(drawn)))
    size = GAP + max(columns, 2) * (width + 2 * GAP), _TITLE_HEIGHT + lines * (height + 2 * GAP) + GAP
    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _text(draw, (GAP, 2), title, width=size[0] - 2 * GAP, fill=TEXT, size=15)
    total = len(rows) if total is None else total
    more = f" of {total:,}" if total > len(drawn) else ""
    subtitle = f"Matches: {len(drawn):,}{more}. Left: found, right: registered, with its camera."
    _text(draw, (GAP, 21), subtitle if drawn else "Nothing was found.", width=size[0] - 2 * GAP, fill=FAINT)
    for number, (query, match) in enumerate(drawn):
        left = GAP + number % columns * (width + 2 * GAP)
        top = _TITLE_HEIGHT + GAP + number // columns * (height + 2 * GAP)
        _draw_pair(canvas, (left, top), width, query, match, gallery)
    return save_picture(canvas, Path(path))


def thumbnail(picture: np.ndarray | Image.Image) -> Image.Image:
    """A picture, fitted into the square that a sheet has for it: drawn or fitted again it stays as it is."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else in_rgb(picture)
    return ImageOps.pad(image, (CELL, CELL), color=_EMPTY)


def _draw_pair(
    canvas: Image.Image,
    corner: tuple[int, int],
    width: int,
    query: np.ndarray | Image.Image,
    match: Match,
    gallery: str | Path | None,
) -> None:
    left, top = corner
    draw = ImageDraw.Draw(canvas)
    colour = colour_of(match.vehicle)
    draw.rectangle((left, top, left + width - 1, top + CELL + 2 * FRAME - 1), fill=colour)
    for number, picture in enumerate((query, _registered(match, gallery))):
        place = left + FRAME + number * (CELL + 2), top + FRAME
        shown = Image.new("RGB", (CELL, CELL), _EMPTY) if picture is None else thumbnail(picture)
        canvas.paste(shown, place)
        if picture is None:
            _text(draw, (place[0] + GAP, place[1] + (CELL - LINE) // 2), "no picture", width=CELL - GAP, fill=FAINT)
    below = top + CELL + 2 * FRAME
    score = f"  {match.score:.3f}"
    name = fitted(plain_text(match.vehicle), _SMALL, width - font_for(score, _SMALL).getlength(score))
    _text(draw, (left, below), f"{name}{score}", width=width, fill=TEXT)
    track = None if match.track is None else f"track {match.track}"
    where = ",  ".join(part for part in (time_code(match.seconds), track, match.camera) if part)
    _text(draw, (left, below + LINE), where, width=width, fill=FAINT)


def _text(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, *, width: float, fill: str, size: int = _SMALL
) -> None:
    """Drawn in one line, as far as it fits; never interpreted."""
    shown = fitted(plain_text(text), size, width)
    draw.text(corner, shown, fill=fill, font=font_for(shown, size))


def _registered(match: Match, gallery: str | Path | None) -> Image.Image | None:
    if match.picture is None:
        return None
    try:
        return load_image(Path(match.picture) if gallery is None else Path(gallery) / match.picture)
    except ReIDError:
        return None
