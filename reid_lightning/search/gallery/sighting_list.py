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


def plates_near(index: SightingIndex, plate: str, *, most: int = 5) -> list[tuple[str, str]]:
    """(plate, camera) of plates that differ from `plate` in one character that is another one, missing or too much;
    most often seen first, then by name. The camera is the one that saw it last."""
    if not plate.isalnum():  # no plate that was read
        return []
    ends = [(plate[:place], plate[place:]) for place in range(len(plate) + 1)]
    patterns = {f"{left}?{right}" for left, right in ends}  # one too much
    patterns |= {f"{left}?{right[1:]}" for left, right in ends if right}
    patterns |= {f"{left}{right[1:]}" for left, right in ends if right and len(plate) > 1}
    what = (
        "SELECT plate, camera, COUNT(*) AS seen, MAX(coalesce(start, 0)) FROM rows WHERE kind < 2 AND plate != ? AND "
        f"({' OR '.join(['plate GLOB ?'] * len(patterns))}) GROUP BY plate ORDER BY seen DESC, plate LIMIT ?"
    )
    given = (plate, *sorted(patterns), most)
    return index.read(lambda db: [(near, camera) for near, camera, *_ in db.execute(what, given)])


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
