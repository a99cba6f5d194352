"""What is known of a vehicle in short, for lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reid_lightning.search.records import Sighting


@dataclass(frozen=True)
class VehicleSummary:
    """A registered vehicle; `first` and `last` are seconds since 1970, None where no time is known. `confirmed`: one of
    its sightings is, see `Sighting`."""

    id: str
    sightings: int
    crops: int
    cameras: tuple[str, ...]
    types: tuple[str, ...]
    first: float | None
    last: float | None
    confirmed: bool = True


def summary_of(vehicle: str, sightings: Sequence[Sighting]) -> VehicleSummary:
    """Of all sightings of a vehicle."""
    starts = [sighting.start for sighting in sightings if sighting.start is not None]
    ends = [sighting.end for sighting in sightings if sighting.end is not None]
    return VehicleSummary(
        vehicle,
        sightings=len(sightings),
        crops=sum(len(sighting.crops) for sighting in sightings),
        cameras=tuple(sorted({sighting.camera for sighting in sightings if sighting.camera})),
        types=tuple(sorted({sighting.type for sighting in sightings})),
        first=min(starts, default=None),
        last=max(ends or starts, default=None),
        confirmed=any(sighting.confirmed for sighting in sightings) or not sightings,
    )
