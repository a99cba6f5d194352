"""Numbers of a gallery: how many there are, of each camera, on each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reid_lightning.app.gallery.overview import VehicleEntry
from reid_lightning.search.gallery.listing import moment as moment

NO_CAMERA = "(none)"


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
