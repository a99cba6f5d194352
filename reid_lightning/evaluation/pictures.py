"""Pictures of rankings: a query a row, then its best matches, framed green when right and red when wrong.

A number says how good a model is; the rows say what it takes for the same vehicle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from reid_lightning.atomic import save_picture
from reid_lightning.data.images.reading import load_image
from reid_lightning.data.records import VehicleImage
from reid_lightning.drawing.colours import BACKGROUND, CELL, FAINT, FRAME, GAP, LINE, QUERY, RIGHT, TEXT, TITLE, WRONG
from reid_lightning.drawing.fonts import broken, own_font, shortened
from reid_lightning.errors import count
from reid_lightning.evaluation.ranked_lists import (
    PicturedRanking,
    RankedList,
    choose_queries,
    hardest_lists,
    ranked_lists,
)


def draw_ranked_lists(ranking: PicturedRanking, path: Path, *, name: str, queries: int = 8, columns: int = 10) -> Path:
    """Draw `queries` rows, spread from the worst to the best average precision, with `columns` matches each.

    `name` is that of the data. The format is that of the path's ending (.png, .jpg); the file appears whole or not at
    all.
    """
    result = ranking.result
    lists = ranked_lists(ranking, rows=choose_queries(result.average_precision, queries), columns=columns)
    nearest = min(result.cmc)
    title = f"{name}: mAP {100 * result.mAP:.1f}, rank-{nearest} {100 * result.cmc[nearest]:.1f}"
    subtitle = (
        f"{count(len(lists), 'query', 'queries')}, evenly spread from the worst (top) to the best average precision "
        "(AP); green: the same "
        f"vehicle, red: another\n{result.describe()}"
    )
    return save_picture(draw_lists(lists, title=title, subtitle=subtitle, columns=columns), path)


def draw_hardest_queries(
    ranking: PicturedRanking, path: Path, *, name: str, queries: int = 8, confusers: int = 5
) -> Path:
    """Draw the `queries` rows of the lowest average precision: what was taken for them, and where the first right
    answer stands. `name` and the format are as in `draw_ranked_lists`."""
    lists = hardest_lists(ranking, queries=queries, confusers=confusers)
    title = f"{name}: the {count(len(lists), 'hardest query', 'hardest queries')}"
    subtitle = (
        "Lowest average precision (AP) at the top. Red: the wrong pictures that rank best; green: the right one that "
        f"ranks best; #: place, junk left out.\n{ranking.result.describe()}"
    )
    return save_picture(draw_lists(lists, title=title, subtitle=subtitle, columns=confusers), path)


def draw_lists(lists: Sequence[RankedList], *, title: str, subtitle: str, columns: int) -> Image.Image:
    """The lists as one picture, about 1,200 pixels wide with 10 columns; long lines of `subtitle` are broken."""
    step = CELL + 2 * FRAME + GAP
    row_height = CELL + 2 * FRAME + 2 * LINE + GAP
    answers = any(entry.answer for entry in lists)
    right_edge = GAP + (columns + 1) * step + GAP
    width = right_edge + answers * (step + GAP)
    font = own_font(11)
    lines = [part for line in subtitle.splitlines() for part in broken(line, font, width - 2 * GAP)]
    header = TITLE + (max(2, len(lines)) - 2) * LINE
    canvas = Image.new("RGB", (width, header + len(lists) * row_height + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 2), title, fill=TEXT, font=own_font(15))
    for number, line in enumerate(lines):
        draw.text((GAP, 20 + number * LINE), line, fill=FAINT, font=font)
    for number, entry in enumerate(lists):
        top = header + number * row_height
        precision = entry.average_precision
        caption = "no right answer" if math.isnan(precision) else f"query, AP {100 * precision:.1f}"
        _draw_cell(canvas, (GAP, top), entry.query, colour=QUERY, caption=caption)
        cells = [(GAP + column * step + GAP, match) for column, match in enumerate(entry.matches[:columns], start=1)]
        if entry.answer is not None:
            cells.append((right_edge + GAP, entry.answer))
        for left, match in cells:  # a wider gap behind the query and before the answer
            colour = RIGHT if match.correct else WRONG
            _draw_cell(canvas, (left, top), match.image, colour=colour, caption=f"#{match.place:,}  {match.score:.3f}")
    return canvas


def _draw_cell(canvas: Image.Image, corner: tuple[int, int], image: VehicleImage, *, colour: str, caption: str) -> None:
    left, top = corner
    side = CELL + 2 * FRAME
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=colour)
    picture = ImageOps.pad(load_image(image.path), (CELL, CELL), color="#e8e8e8")
    canvas.paste(picture, (left + FRAME, top + FRAME))
    font = own_font(11)
    draw.text((left, top + side), shortened(caption, font, side), fill=TEXT, font=font)
    draw.text((left, top + side + LINE), shortened(_name(image), font, side), fill=FAINT, font=font)


def _name(image: VehicleImage) -> str:
    return image.identity if image.camera is None else f"{image.identity} {image.camera}"
