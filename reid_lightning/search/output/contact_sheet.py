"""What was found or registered on one picture: each match beside the registered picture it was taken for, or each
registered vehicle with its plate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from reid_lightning.atomic import save_picture
from reid_lightning.data.images.reading import in_rgb, load_image
from reid_lightning.drawing.colours import BACKGROUND, CELL, FAINT, FRAME, GAP, LINE, RIGHT, TEXT
from reid_lightning.drawing.fonts import broken, fitted, font_for, plain_text
from reid_lightning.errors import ReIDError
from reid_lightning.search.matching.track_decisions import TrackDecision, answer_of, answers_of
from reid_lightning.search.output.results import score_in_words
from reid_lightning.search.records import UNCONFIRMED, Match, Sighting, time_code

ROWS = 200
"""Cells of a sheet, unless asked otherwise."""
REGISTERED_SIDE = 144
"""Pixels of a registered vehicle's square."""
_ANSWER, _OTHER = RIGHT, "#a8a8a8"
_EMPTY = "#e8e8e8"
_TITLE, _SMALL = 15, 11  # pixels of a font


@dataclass(frozen=True)
class RegisteredPicture:
    """A sighting that was registered and its best picture; `seconds` since the source's start."""

    picture: Image.Image
    sighting: Sighting
    seconds: float
    is_new: bool = True


@dataclass(frozen=True)
class Cell:
    """Squares side by side (None: a picture that is gone), a frame's colour, and lines of a caption, the first dark."""

    pictures: tuple[np.ndarray | Image.Image | None, ...]
    lines: tuple[str, ...]
    colour: str | None = None


def contact_sheet(
    path: str | Path,
    rows: Sequence[tuple[np.ndarray | Image.Image, Match]],
    *,
    gallery: str | Path | None = None,
    decisions: Sequence[TrackDecision] = (),
    title: str = "",
    notes: Sequence[str] = (),
    columns: int = 4,
    limit: int = ROWS,
    total: int | None = None,
    in_video: bool = True,
) -> Path:
    """Draw a pair of pictures for each match: the query's on the left, the registered one on the right; below them
    vehicle and score, time code, track and camera, and what the track was decided to be. The frame is green where the
    match is its track's answer, else grey; answers come first.

    Args:
        path: the format is that of its ending (.jpg, .png); the file appears whole or not at all.
        rows: a crop (height, width, 3) uint8 RGB or PIL picture, and its match.
        gallery: the folder that a match's `picture` is relative to; None: they are paths themselves. One that cannot be
            read leaves its place empty.
        decisions: about whole tracks; without any, nothing is said of answers.
        title: the first line.
        notes: lines below the explanation.
        columns: pairs side by side.
        limit: pairs drawn; the sheet says how many there are in all.
        total: how many there are, where `rows` are only the best of them.
        in_video: False: the query's pictures have no time, and each vehicle in one is a track of its own.
    """
    answers = answers_of(decisions)
    ordered = sorted(rows, key=lambda row: not _is_answer(row[1], answer_of(row[1], answers)))  # stable
    drawn = ordered[:limit]
    cells = [
        _pair(query, match, gallery, answers, decided=bool(decisions), in_video=in_video) for query, match in drawn
    ]
    total = len(rows) if total is None else total
    more = f" of {total:,}" if total > len(drawn) else ""
    explained = f"Matches: {len(drawn):,}{more}. Left: found, right: registered, with its camera."
    if decisions:
        tracks, unit = len({one.track for one in decisions}), "tracks" if in_video else "vehicles on pictures"
        explained += f" Green frame: the one answer ({len(answers):,} of {tracks:,} {unit} have one); grey: single "
        explained += "pictures match that vehicle, too, but it is not the answer."
    lines = (explained if drawn else "Nothing was found.", *notes)
    return draw_sheet(path, cells, title=title, notes=lines, columns=columns, limit=limit, side=CELL)


def registered_sheet(
    path: str | Path,
    rows: Sequence[RegisteredPicture],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    columns: int = 6,
    limit: int = ROWS,
) -> Path:
    """Draw each registered vehicle's best picture; below it its name, the plate that was read with its confidence,
    camera and time. The other arguments are those of `contact_sheet`."""
    cells = []
    for row in rows[:limit]:
        sighting = row.sighting
        read = read_in_words(sighting)
        read = f"plate {read}" if sighting.plate is not None else f"no plate read{read and ', '}{read}"
        lines = [sighting.vehicle, read, f"{sighting.camera}, {time_code(row.seconds)}"]
        marks = ("" if row.is_new else "was registered before", "" if sighting.confirmed else UNCONFIRMED)
        cells.append(Cell((row.picture,), (*lines, ", ".join(filter(None, marks)))))
    return draw_sheet(path, cells, title=title, notes=notes, columns=columns, limit=limit, side=REGISTERED_SIDE)


def read_in_words(sighting: Sighting) -> str:
    """`LS15EBO (0.91), near LS15EBC by north`; `looks like LS15EBC (0.78)`; nothing where nothing is known."""
    if sighting.plate is None:
        return (
            "" if sighting.looks_like is None else f"looks like {sighting.looks_like} ({sighting.looks_like_score:.2f})"
        )
    where = "" if sighting.near_plate_camera is None else f" by {sighting.near_plate_camera}"
    near = "" if sighting.near_plate is None else f", near {sighting.near_plate}{where}"
    return f"{sighting.plate} ({sighting.plate_confidence:.2f}){near}"


def thumbnail(picture: np.ndarray | Image.Image, side: int = CELL) -> Image.Image:
    """A picture, fitted into the square that a sheet has for it: drawn or fitted again it stays as it is."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else in_rgb(picture)
    return ImageOps.pad(image, (side, side), color=_EMPTY)


def _pair(
    query: np.ndarray | Image.Image,
    match: Match,
    gallery: str | Path | None,
    answers: Mapping[int, TrackDecision],
    *,
    decided: bool,
    in_video: bool,
) -> Cell:
    place = f"picture {match.frame}"
    if in_video:
        place = time_code(match.seconds) + ("" if match.track is None else f",  track {match.track}")
    where = ",  ".join(part for part in (place, match.camera, "" if match.confirmed else UNCONFIRMED) if part)
    lines = [f"{match.vehicle}  {score_in_words(match)}", where]
    answer = answer_of(match, answers)
    if decided and answer is not None:
        right = _is_answer(match, answer)
        lines.append(f"the answer, {answer.similarity:.2f}" if right else f"the answer is {answer.vehicle}")
    elif decided:
        lines.append("no answer")
    colour = _ANSWER if _is_answer(match, answer) else _OTHER
    return Cell((query, _registered(match, gallery)), tuple(lines), colour)


def _is_answer(match: Match, answer: TrackDecision | None) -> bool:
    return answer is not None and answer.vehicle == match.vehicle


def draw_sheet(
    path: str | Path, cells: Sequence[Cell], *, title: str, notes: Sequence[str], columns: int, limit: int, side: int
) -> Path:
    """The cells in rows below a title and notes, which are broken between words."""
    if columns < 1 or limit < 1:
        raise ReIDError(f"columns is {columns} and limit {limit}; expected 1 or more of both.")
    pictures = max((len(cell.pictures) for cell in cells), default=2)
    width = pictures * (side + 2) - 2 + 2 * FRAME
    cells = [replace(cell, lines=_lines(cell, width)) for cell in cells]
    height = side + 2 * FRAME + max((len(cell.lines) for cell in cells), default=2) * LINE
    rows = max(1, math.ceil(len(cells) / columns))
    columns = max(1, min(columns, len(cells)))
    whole = GAP + max(columns * (width + 2 * GAP), 2 * (2 * CELL + 2 * FRAME + 2 + 2 * GAP))
    lines = [part for note in notes for part in broken(plain_text(note), font_for(note, _SMALL), whole - 2 * GAP)]
    header = 21 + max(1, len(lines)) * LINE + 2
    canvas = Image.new("RGB", (whole, header + rows * (height + 2 * GAP) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    _text(draw, (GAP, 2), title, width=whole - 2 * GAP, fill=TEXT, size=_TITLE)
    for number, line in enumerate(lines):
        _text(draw, (GAP, 21 + number * LINE), line, width=whole - 2 * GAP, fill=FAINT)
    for number, cell in enumerate(cells):
        corner = GAP + number % columns * (width + 2 * GAP), header + GAP + number // columns * (height + 2 * GAP)
        _draw_cell(canvas, corner, width, cell, side)
    return save_picture(canvas, Path(path))


def _lines(cell: Cell, width: int) -> tuple[str, ...]:
    """Broken between words where a line is wider than its pictures."""
    parts = (broken(plain_text(line), font_for(line, _SMALL), width) or [""] for line in cell.lines)
    return tuple(line for part in parts for line in part)


def _draw_cell(canvas: Image.Image, corner: tuple[int, int], width: int, cell: Cell, side: int) -> None:
    left, top = corner
    draw = ImageDraw.Draw(canvas)
    if cell.colour is not None:
        draw.rectangle((left, top, left + width - 1, top + side + 2 * FRAME - 1), fill=cell.colour)
    for number, picture in enumerate(cell.pictures):
        place = left + FRAME + number * (side + 2), top + FRAME
        shown = Image.new("RGB", (side, side), _EMPTY) if picture is None else thumbnail(picture, side)
        canvas.paste(shown, place)
        if picture is None:
            _text(draw, (place[0] + GAP, place[1] + (side - LINE) // 2), "no picture", width=side - GAP, fill=FAINT)
    below = top + side + 2 * FRAME
    for number, line in enumerate(cell.lines):
        _text(draw, (left, below + number * LINE), line, width=width, fill=FAINT if number else TEXT)


def _text(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, *, width: float, fill: str, size: int = _SMALL
) -> None:
    """Drawn in one line, shortened in the middle where it does not fit; never interpreted."""
    shown = fitted(plain_text(text), size, width)
    draw.text(corner, shown, fill=fill, font=font_for(shown, size))


def _registered(match: Match, gallery: str | Path | None) -> Image.Image | None:
    if match.picture is None:
        return None
    try:
        return load_image(Path(match.picture) if gallery is None else Path(gallery) / match.picture)
    except ReIDError:
        return None
