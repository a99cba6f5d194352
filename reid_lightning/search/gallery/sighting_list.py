"""All sightings of a gallery as linking needs them, read from the index of sidecars and not from the files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from reid_lightning.search.gallery.sighting_index import MANY, SightingIndex
from reid_lightning.search.gallery.sighting_rows import PICTURE
from reid_lightning.search.plates.names import given_name

_PART = 5000


@dataclass(frozen=True)
class Seen:
    """What is known of a sighting without its pictures; see `Sighting`.

    `vehicle` is its folder; `placed`: a person has put it there, for it is called by neither its plate nor its id.
    """

    id: str
    vehicle: str
    camera: str
    type: str
    start: float | None = None
    end: float | None = None
    plate: str | None = None
    plate_confidence: float = 0.0
    placed: bool = False


def all_seen(index: SightingIndex) -> list[Seen]:
    """Every sighting once, by id; of one that lies in two folders, the first one's. What is damaged is left out."""
    index.look(MANY)
    return list(_unique(index))


def _unique(index: SightingIndex) -> Iterator[Seen]:
    last: tuple[str, str] = "", ""
    before = ""
    while rows := index.read(partial(_after, last=last)):
        for sighting, vehicle, camera, kind, start, end, plate, confidence, what in rows:
            last = sighting, vehicle
            if sighting == before:
                continue
            before = sighting
            placed = what == PICTURE or vehicle != given_name(sighting, plate)
            yield Seen(sighting, vehicle, camera, kind, start, end, plate, confidence or 0.0, placed)


def _after(db: sqlite3.Connection, *, last: tuple[str, str]) -> list[tuple[Any, ...]]:
    what = (
        'SELECT sighting, name, camera, type, start, "end", plate, plate_confidence, kind FROM rows '
        "JOIN folders ON id = folder WHERE kind < 2 AND (sighting, name) > (?, ?) ORDER BY sighting, name LIMIT ?"
    )
    return db.execute(what, (*last, _PART)).fetchall()
