"""Which vehicles a list shows, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reid_lightning.app.gallery.overview import SightingEntry, VehicleEntry

Order = Literal["name", "last seen", "sightings"]
ORDERS: tuple[Order, ...] = ("name", "last seen", "sightings")


@dataclass(frozen=True)
class Choice:
    """What a user looks for: a vehicle is shown when one and the same sighting of it fits camera, type and time.

    `text` is a part of the vehicle's name or of a plate that was read of it, in any case, whatever signs are between
    letters. `cameras` and `types`: any of them; none: all. The sighting was between `since` and `until` at least for a
    moment, in seconds since 1970; one without a time fits neither.
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
