"""Numbers of a gallery: how many there are, of each camera, on each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from reid_lightning.app.gallery.overview import VehicleEntry

NO_CAMERA = "(none)"
_YEARS = (1971, 2200)  # what a chart can show


@dataclass(frozen=True)
class Statistics:
    """`per_camera` and `per_day` count sightings, by name and by date (local time); `undated` have no time."""

    vehicles: int
    sightings: int
    crops: int
    per_camera: dict[str, int]
    per_day: dict[str, int]
    undated: int


def statistics_of(vehicles: Sequence[VehicleEntry]) -> Statistics:
    """Of all these vehicles."""
    sightings = [sighting for vehicle in vehicles for sighting in vehicle.sightings]
    cameras = Counter(sighting.camera or NO_CAMERA for sighting in sightings)
    moments = [moment(sighting.start) for sighting in sightings]
    days = Counter(when.strftime("%Y-%m-%d") for when in moments if when is not None)
    return Statistics(
        vehicles=len(vehicles),
        sightings=len(sightings),
        crops=sum(sighting.crops for sighting in sightings),
        per_camera=dict(sorted(cameras.items())),
        per_day=dict(sorted(days.items())),
        undated=sum(when is None for when in moments),
    )


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as local time; None where nobody knows it, or where no calendar reaches."""
    try:
        when = None if seconds is None else datetime.fromtimestamp(seconds)
    except (ValueError, OverflowError, OSError):
        return None
    return when if when is not None and _YEARS[0] <= when.year <= _YEARS[1] else None
