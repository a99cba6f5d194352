"""Linked vehicles, and pairs that people are asked about, as pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from reid_lightning.data.images.reading import load_image
from reid_lightning.drawing.colours import CELL
from reid_lightning.drawing.tables import date
from reid_lightning.errors import ReIDError, count
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking.links import LinkedVehicle
from reid_lightning.search.linking.review import Question
from reid_lightning.search.output.contact_sheet import REGISTERED_SIDE, Cell, draw_sheet
from reid_lightning.search.records import Sighting

VEHICLES = 60
"""On a sheet, those of most sightings."""
_PICTURES = 6  # of a vehicle, by time


def link_sheet(path: Path, gallery: GalleryReader, vehicles: Sequence[LinkedVehicle], *, title: str = "") -> Path:
    """Draw a row for each vehicle: a picture of each of its first sightings, its name and its way over the cameras.

    Args:
        path: the format is that of its ending (.jpg, .png); the file appears whole or not at all.
        gallery: where the pictures are; of a sighting that is gone the place is empty.
        vehicles: those with most sightings are drawn, `VEHICLES` at most.
        title: the first line.
    """
    ordered = sorted(vehicles, key=lambda one: (-len(one.sightings), one.name))[:VEHICLES]
    cells = []
    for vehicle in ordered:
        sightings = [gallery.find(one) for one in vehicle.sightings[:_PICTURES]]
        way = " > ".join("?" if one is None else one.camera or "?" for one in sightings)
        more = len(vehicle.sightings) - len(sightings)
        lines = (vehicle.name, way + (f" and {more:,} more" if more else ""))
        cells.append(Cell(tuple(_picture(gallery, one) for one in sightings), lines))
    shown = f"{count(len(cells), 'vehicle')} of {len(vehicles):,} that were seen several times, a picture a sighting"
    return draw_sheet(path, cells, title=title, notes=(shown,), columns=2, limit=VEHICLES, side=REGISTERED_SIDE)


def question_sheet(path: Path, gallery: GalleryReader, asked: Sequence[Question], *, title: str = "") -> Path:
    """Draw the two sightings of each question side by side, with their ids, cameras and times."""
    cells = []
    for question in asked:
        two = [gallery.find(one) for one in (question.one, question.other)]
        places = (f"{one.camera or '?'} {date(one.start)}" for one in two if one is not None)
        linked = "linked as one" if question.joined else "two vehicles"
        lines = (f"{question.one},{question.other}", " and ".join(places), f"{linked}; worth {question.worth:.2f}")
        cells.append(Cell(tuple(_picture(gallery, one) for one in two), lines))
    notes = (f"Are these two one vehicle? {count(len(cells), 'question')}, the most useful first.",)
    return draw_sheet(path, cells, title=title, notes=notes, columns=3, limit=max(1, len(cells)), side=CELL)


def _picture(gallery: GalleryReader, sighting: Sighting | None) -> Image.Image | None:
    if sighting is None:
        return None
    best = max(sighting.crops, key=lambda crop: crop.quality)
    try:
        return load_image(gallery.crop_path(sighting.vehicle, best.file))
    except ReIDError:
        return None
