"""Pictures of rankings: a query a row, then its best matches, framed green when right and red when wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from reid_lightning.data.images import load_image
from reid_lightning.data.protocol import protocol_of
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.ranking import RetrievalResult, rank_gallery

CELL = 96  # pixels of a picture's square
FRAME = 4
LINE = 13  # of a caption, which has two
GAP = 6
TITLE = 48
BACKGROUND, TEXT, FAINT = "white", "#222222", "#777777"
RIGHT, WRONG, QUERY = "#1a9850", "#d73027", "#333333"


@dataclass(frozen=True)
class RankedMatch:
    """One gallery picture in a ranked list."""

    image: VehicleImage
    score: float
    correct: bool


@dataclass(frozen=True)
class RankedList:
    """A query and its best matches, best first; `average_precision` is NaN without a right answer in the gallery."""

    query: VehicleImage
    matches: tuple[RankedMatch, ...]
    average_precision: float


def choose_queries(average_precision: Tensor, count: int) -> list[int]:
    """Rows of `count` queries spread evenly from the worst to the best average precision: honest and deterministic."""
    scored = (~average_precision.isnan()).nonzero().flatten()
    ordered = scored[average_precision[scored].sort(stable=True).indices]
    places = torch.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().long()
    return ordered[places].tolist()


def ranked_lists(
    dataset: VehicleDataset,
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    result: RetrievalResult,
    *,
    rows: Sequence[int],
    columns: int,
) -> list[RankedList]:
    """The `columns` best matches of the queries in `rows`, junk left out."""
    names = protocol_of(dataset)
    for side in ("query_ids", "query_cameras", "jk_index"):
        names[side] = None if names[side] is None else [names[side][row] for row in rows]
    found, scores = rank_gallery(
        query_embeddings[list(rows)], gallery_embeddings, **names, metric=result.metric, top_k=columns
    )
    lists = []
    for number, row in enumerate(rows):
        query = dataset.query[row]
        pairs = zip(found[number].tolist(), scores[number].tolist(), strict=True)
        images = [(dataset.gallery[place], score) for place, score in pairs if place >= 0]
        matches = tuple(RankedMatch(image, score, image.identity == query.identity) for image, score in images)
        lists.append(RankedList(query, matches, float(result.average_precision[row])))
    return lists


def draw_ranked_lists(
    dataset: VehicleDataset,
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    result: RetrievalResult,
    path: Path,
    *,
    queries: int = 8,
    columns: int = 10,
) -> Path:
    """Draw `queries` rows, spread from the worst to the best average precision, with `columns` matches each.

    The format is that of the path's ending (.png, .jpg); the file appears whole or not at all.
    """
    rows = choose_queries(result.average_precision, queries)
    lists = ranked_lists(dataset, query_embeddings, gallery_embeddings, result, rows=rows, columns=columns)
    nearest = min(result.cmc)
    title = f"{dataset.name}: mAP {100 * result.mAP:.1f}, rank-{nearest} {100 * result.cmc[nearest]:.1f}"
    subtitle = (
        f"{len(lists)} queries, evenly spread from the worst (top) to the best average precision (AP); green: the same "
        f"vehicle, red: another\n{result.describe()}"
    )
    return save_atomically(draw_lists(lists, title=title, subtitle=subtitle, columns=columns), path)


def draw_lists(lists: Sequence[RankedList], *, title: str, subtitle: str, columns: int) -> Image.Image:
    """The lists as one picture, about 1,200 pixels wide with 10 columns; `subtitle` may have two lines."""
    step = CELL + 2 * FRAME + GAP
    row_height = CELL + 2 * FRAME + 2 * LINE + GAP
    width = GAP + (columns + 1) * step + GAP
    canvas = Image.new("RGB", (width, TITLE + len(lists) * row_height + GAP), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, 2), title, fill=TEXT, font=ImageFont.load_default(size=15))
    for number, line in enumerate(subtitle.splitlines()):
        font = ImageFont.load_default(size=11)
        draw.text((GAP, 20 + number * LINE), _shortened(draw, line, font, width - 2 * GAP), fill=FAINT, font=font)
    for number, entry in enumerate(lists):
        top = TITLE + number * row_height
        precision = entry.average_precision
        caption = "no right answer" if math.isnan(precision) else f"query, AP {100 * precision:.1f}"
        _draw_cell(canvas, (GAP, top), entry.query, colour=QUERY, caption=caption)
        for place, match in enumerate(entry.matches[:columns], start=1):
            left = GAP + place * step + GAP  # a wider gap behind the query
            colour = RIGHT if match.correct else WRONG
            _draw_cell(canvas, (left, top), match.image, colour=colour, caption=f"{match.score:.3f}")
    return canvas


def save_atomically(picture: Image.Image, path: Path) -> Path:
    """Write under a temporary name, then rename."""
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        picture.save(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _draw_cell(canvas: Image.Image, corner: tuple[int, int], image: VehicleImage, *, colour: str, caption: str) -> None:
    left, top = corner
    side = CELL + 2 * FRAME
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, top, left + side - 1, top + side - 1), fill=colour)
    picture = ImageOps.pad(load_image(image.path), (CELL, CELL), color="#e8e8e8")
    canvas.paste(picture, (left + FRAME, top + FRAME))
    font = ImageFont.load_default(size=11)
    draw.text((left, top + side), _shortened(draw, caption, font, side), fill=TEXT, font=font)
    draw.text((left, top + side + LINE), _shortened(draw, _name(image), font, side), fill=FAINT, font=font)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, or as much of its beginning as fits into `width` pixels, with dots."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."


def _name(image: VehicleImage) -> str:
    return image.identity if image.camera is None else f"{image.identity} {image.camera}"
