"""What the index of sidecars says of a gallery: vehicles by pages, filtered and in an order, and how many they are."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from reid_lightning.search.gallery.sighting_index import SightingIndex
from reid_lightning.search.gallery.sighting_rows import text, usual_names
from reid_lightning.search.gallery.sighting_table import (
    CROPS,
    QUARTER,
    SIGHTINGS,
    SUMMARY,
    UNDATED,
    VEHICLES,
    bare,
    fact,
    summary,
)
from reid_lightning.search.gallery.summary import VehicleSummary
from reid_lightning.search.gallery.vehicle_folder import read_folder, vehicle_folders
from reid_lightning.search.records import VectorRecord

Order = Literal["name", "last seen", "sightings"]
ORDERS: tuple[Order, ...] = ("name", "last seen", "sightings")

_BY = {
    "name": "name",
    "last seen": "last IS NULL, last DESC, name",
    "sightings": "sightings DESC, name",
}
_RARE = 50  # vehicles, of which one or fewer fit, are looked up; of more, every one is looked at in order
_YEARS = (1971, 2200)  # what a chart can show


@dataclass(frozen=True)
class Choice:
    """What a user looks for: a vehicle is shown when one and the same sighting of it fits camera, type and time.

    `text` is a part of the vehicle's name or of a plate that was read of it, in any case, whatever signs are between
    letters. `cameras` and `types`: any of them; none: all. The sighting was between `since` and `until` at least for a
    moment, in seconds since 1970; one without a time fits neither. Vehicles that are equal in `order` come by name.
    """

    text: str = ""
    cameras: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    order: Order = "name"

    @property
    def is_everything(self) -> bool:
        """Nothing is left out."""
        return not (self.text.strip() or self.cameras or self.types) and self.since is None and self.until is None


EVERYTHING = Choice()


@dataclass(frozen=True)
class Listed:
    """A vehicle, and the name of the file of its best picture."""

    summary: VehicleSummary
    cover: str


@dataclass(frozen=True)
class Page:
    """Some `vehicles` of the `fitting` ones, of which there are so many; and of how many vehicles in all."""

    vehicles: tuple[Listed, ...]
    fitting: int
    total: int


@dataclass(frozen=True)
class Statistics:
    """`per_camera`, `per_type` and `per_day` count sightings, by name and by date (local time); `undated` have no
    time."""

    vehicles: int
    sightings: int
    crops: int
    per_camera: dict[str, int]
    per_type: dict[str, int]
    per_day: dict[str, int]
    undated: int


def page_of(index: SightingIndex, choice: Choice, *, start: int, most: int | None) -> Page:
    """See `GalleryReader.page`. What is shown is compared with the disk."""
    page = index.read(lambda db: _page(db, choice, start, most))
    if most is not None and index.look_at([one.summary.id for one in page.vehicles]):
        page = index.read(lambda db: _page(db, choice, start, most))
    return page


def names_of(index: SightingIndex, choice: Choice) -> list[str]:
    """The names of all vehicles that fit, in order."""
    where, given = _where(choice)
    what = f"SELECT name FROM folders WHERE {where} ORDER BY {_BY[choice.order]}"
    return index.read(lambda db: [name for (name,) in db.execute(what, given)])


def statistics_of(index: SightingIndex) -> Statistics:
    """See `GalleryReader.statistics`."""
    return index.read(_statistics)


def problems_of(index: SightingIndex, root: Path) -> list[str]:
    """Lines about what cannot be read, as it is now; only folders of which the index knows any are read."""
    odd, folders = index.read(
        lambda db: (
            fact(db, "root_problems"),
            [name for (name,) in db.execute("SELECT name FROM folders WHERE problems ORDER BY name")],
        )
    )
    lines = vehicle_folders(root)[1] if odd else []
    return [*lines, *(line for name in folders for line in read_folder(root / name).problems)]


def crops_of(index: SightingIndex, on_problem: Callable[[str], None]) -> Iterator[tuple[VectorRecord, str]]:
    """Every crop of the gallery by vehicle, as stores of vectors know it, with its file's name. A sighting that lies in
    two folders is given once, of the first one, and reported."""
    doubled = "SELECT sighting FROM rows WHERE kind < 2 GROUP BY sighting HAVING COUNT(*) > 1"
    first = index.read(lambda db: dict.fromkeys((one for (one,) in db.execute(doubled)), ""))
    last = ""
    while folders := index.read(partial(_folders_after, last=last)):
        for number, last in folders:
            for sighting, camera, kind, start, crops, names in index.read(partial(_crops_in, folder=number)):
                if sighting in first and (first[sighting] or last) != last:
                    on_problem(
                        f"The sighting {sighting} lies in {first[sighting]} and in {last}; delete one of the two."
                    )
                    continue
                first.update({sighting: last} if sighting in first else {})
                for place, name in enumerate(json.loads(names) if names else usual_names(sighting, crops)):
                    yield VectorRecord(f"{sighting}-{place}", sighting, last, camera, kind, start), name


def _folders_after(db: sqlite3.Connection, *, last: str) -> list[tuple[int, str]]:
    what = "SELECT id, name FROM folders WHERE name > ? AND sightings ORDER BY name LIMIT 1000"
    return db.execute(what, (last,)).fetchall()


def _crops_in(db: sqlite3.Connection, *, folder: int) -> list[tuple[Any, ...]]:
    what = "SELECT sighting, camera, type, start, crops, names FROM rows WHERE folder = ? AND kind < 2 ORDER BY file"
    return db.execute(what, (folder,)).fetchall()


def of_source(index: SightingIndex, fingerprint: str, camera: str) -> list[str]:
    """The ids of sightings of a source before a camera, by vehicle."""
    what = (
        "SELECT sighting FROM rows JOIN folders ON id = folder WHERE source = ? AND source != '' AND camera = ? "
        "ORDER BY name, sighting"
    )
    return index.read(lambda db: [one for (one,) in db.execute(what, (text(fingerprint), text(camera)))])


def _page(db: sqlite3.Connection, choice: Choice, start: int, most: int | None) -> Page:
    total = _count(db, VEHICLES)
    fitting, condition, given = _fitting(db, choice, total)
    what = f"SELECT {SUMMARY} FROM folders WHERE {condition} ORDER BY {_BY[choice.order]} LIMIT ? OFFSET ?"
    found = [Listed(*summary(row)) for row in db.execute(what, (*given, -1 if most is None else most, start))]
    return Page(tuple(found), fitting, total)


def _fitting(db: sqlite3.Connection, choice: Choice, total: int) -> tuple[int, str, list[str | float]]:
    """How many vehicles fit, and by which condition on `folders`, with its values, a page of them is found fastest."""
    if choice.is_everything:
        return total, "sightings", []
    seen, values = _seen(choice)
    if choice.text.strip():  # every name is looked at: once
        condition, given = _where(choice)
        ids = [number for (number,) in db.execute(f"SELECT id FROM folders WHERE {condition}", given)]
        if len(ids) * _RARE > total:
            return len(ids), condition, given
        return len(ids), f"id IN ({', '.join(map(str, ids))})", []
    seen_in = f"SELECT DISTINCT folder FROM rows WHERE {' AND '.join(seen)}"
    (fitting,) = db.execute(f"SELECT COUNT(*) FROM ({seen_in})", values).fetchone()
    if fitting * _RARE > total:  # those of a page are met soon, in order; the signs keep SQLite to the folder's rows
        there = " AND ".join(f"+{term}" for term in seen)
        return fitting, f"sightings AND EXISTS (SELECT 1 FROM rows WHERE folder = id AND {there})", values
    return fitting, f"id IN ({seen_in})", values


def _where(choice: Choice) -> tuple[str, list[str | float]]:
    """Of `folders`, and its values."""
    words, given = _words(choice)
    seen, values = _seen(choice)
    within = f" AND id IN (SELECT folder FROM rows WHERE {' AND '.join(seen)})" if seen else ""
    return words + within, [*given, *values]


def _words(choice: Choice) -> tuple[str, list[str | float]]:
    wanted = choice.text.strip().casefold()
    if not wanted:
        return "sightings", []
    given: list[str | float] = [*dict.fromkeys((text(wanted), bare(wanted) or text(wanted)))]
    return f"sightings AND ({' OR '.join(['instr(words, ?)'] * len(given))})", given


def _seen(choice: Choice) -> tuple[list[str], list[str | float]]:
    """Of `rows`, and its values."""
    parts, given = list[str](), list[str | float]()
    for column, names in (("camera", choice.cameras), ("type", choice.types)):
        if names:
            parts.append(f"{column} IN ({', '.join('?' * len(names))})")
            given += [text(name) for name in names]
    if parts or choice.since is not None or choice.until is not None:
        parts.append("kind < 2")
    if choice.since is not None:
        parts.append('coalesce("end", start) >= ?')
        given.append(choice.since)
    if choice.until is not None:
        parts.append('coalesce(start, "end") <= ?')
        given.append(choice.until)
    return parts, given


def _statistics(db: sqlite3.Connection) -> Statistics:
    days: Counter[str] = Counter()
    undated, day, end = _count(db, UNDATED), "", -math.inf
    for quarter, number in db.execute("SELECT name, number FROM counts WHERE kind = 'time' AND number ORDER BY name"):
        if quarter * QUARTER >= end:
            when = moment(quarter * QUARTER)
            if when is None:
                undated += number
                continue
            day, end = when.strftime("%Y-%m-%d"), datetime.combine(when + timedelta(days=1), time.min).timestamp()
        days[day] += number
    return Statistics(
        vehicles=_count(db, VEHICLES),
        sightings=_count(db, SIGHTINGS),
        crops=_count(db, CROPS),
        per_camera=_names(db, "camera"),
        per_type=_names(db, "type"),
        per_day=dict(sorted(days.items())),
        undated=undated,
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as local time; None where nobody knows it, or where no calendar reaches."""
    try:
        when = None if seconds is None else datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return None
    return when if when is not None and _YEARS[0] <= when.year <= _YEARS[1] else None


def _names(db: sqlite3.Connection, kind: str) -> dict[str, int]:
    return dict(db.execute("SELECT name, number FROM counts WHERE kind = ? AND number ORDER BY name", (kind,)))


def _count(db: sqlite3.Connection, kind: str) -> int:
    found: Sequence[int] | None = db.execute("SELECT number FROM counts WHERE kind = ?", (kind,)).fetchone()
    return 0 if found is None else found[0]
