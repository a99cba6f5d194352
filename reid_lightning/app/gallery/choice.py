"""Which vehicles a list shows, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reid_lightning.app.gallery.overview import SightingEntry, VehicleEntry
from reid_lightning.search.gallery.listing import ORDERS as ORDERS
from reid_lightning.search.gallery.listing import Choice as Choice
from reid_lightning.search.gallery.listing import Order


def chosen(vehicles: Sequence[VehicleEntry], choice: Choice) -> list[VehicleEntry]:
    """Those that fit, in the order that is asked for; equal ones by name."""
    fitting = [vehicle for vehicle in vehicles if _has_text(vehicle, choice.text) and _was_seen(vehicle, choice)]
    return sorted(fitting, key=_KEYS[choice.order])


def _was_seen(vehicle: VehicleEntry, choice: Choice) -> bool:
    return any(_fits(sighting, choice) for sighting in vehicle.sightings)


def _fits(sighting: SightingEntry, choice: Choice) -> bool:
    if choice.cameras and sighting.camera not in choice.cameras:
        return False
    if choice.types and sighting.type not in choice.types:
        return False
    if choice.since is None and choice.until is None:
        return True
    start = sighting.start if sighting.start is not None else sighting.end
    end = sighting.end if sighting.end is not None else sighting.start
    if start is None or end is None:
        return False
    return (choice.since is None or end >= choice.since) and (choice.until is None or start <= choice.until)


def _has_text(vehicle: VehicleEntry, text: str) -> bool:
    wanted = text.strip().casefold()
    names = [vehicle.summary.id, *(sighting.plate or "" for sighting in vehicle.sightings)]
    bare = _bare(wanted)
    return any(wanted in name.casefold() or (bare and bare in _bare(name.casefold())) for name in names)


def _bare(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum())


_KEYS: dict[Order, Callable[[VehicleEntry], tuple[float | str, ...]]] = {
    "name": lambda vehicle: (vehicle.summary.id,),
    "last seen": lambda vehicle: (vehicle.summary.last is None, -(vehicle.summary.last or 0.0), vehicle.summary.id),
    "sightings": lambda vehicle: (-vehicle.summary.sightings, vehicle.summary.id),
}
