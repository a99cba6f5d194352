"""The tables of `reid gallery list` and `reid gallery trash`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.tables import Name, date, new_table
from reid_lightning.search.gallery.summary import VehicleSummary
from reid_lightning.search.gallery.trash import Removed
from reid_lightning.search.records import UNCONFIRMED, UNKNOWN_TYPE

_ID = 24  # cells of `unknown-` and its digits, which other commands want whole


def print_vehicles(vehicles: Iterable[VehicleSummary]) -> None:
    """A row for each."""
    names = ("vehicle", "cameras", "types")
    table = new_table("vehicle", "seen", "crops", "cameras", "types", "when (UTC)", names=names)
    for vehicle in vehicles:
        types = ", ".join(_types(vehicle))
        lists = (Name(plain_text(", ".join(vehicle.cameras))), Name(plain_text(types)))
        counts = (str(vehicle.sightings), str(vehicle.crops))
        table.add_row(Name(plain_text(vehicle.id), least=_ID), *counts, *lists, span_of(vehicle.first, vehicle.last))
    print_table(table)


def print_trash(entries: Iterable[Removed]) -> None:
    """A row for each."""
    table = new_table("id", "what", "vehicle", "into", "count", "until (UTC)", names=("vehicle", "into"))
    for entry in entries:
        number = str(len(entry.sightings) + len(entry.pictures))
        names = (Name(plain_text(entry.vehicle)), Name(plain_text(entry.into)))
        table.add_row(entry.id, plain_text(entry.action), *names, number, date(entry.until, UTC)[:10])
    print_table(table)


def _types(vehicle: VehicleSummary) -> list[str]:
    known = [kind for kind in vehicle.types if kind != UNKNOWN_TYPE]
    return known + ([] if vehicle.confirmed else [UNCONFIRMED]) or list(vehicle.types)


def print_table(table: Table) -> None:
    """On a terminal as wide as it is, else as wide as names need."""
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:  # a pipe or a file gets names whole, to be copied, read, cut
        console.width = max(
            console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum
        )
    console.print(table)


def span_of(first: float | None, last: float | None) -> str:
    """From when to when, to the minute; on one day that is named once."""
    if first is None or last is None:
        return ""
    start, end = date(first, UTC), date(last, UTC)
    if start[:10] == end[:10] and " " in start:
        return start[:16] if start[:16] == end[:16] else f"{start[:16]}-{end[11:16]}"
    return f"{start[:10]} - {end[:10]}"
