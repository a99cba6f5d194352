"""Which sightings are one vehicle, as it was linked: a layer over the gallery's folders, which it never touches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reid_lightning.atomic import save
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.answers import FOLDER
from reid_lightning.search.plates.names import unknown_name

FILE = "links.json"
COMPARISONS = "comparisons.npz"
"""What was compared, see `comparisons.py`."""
_FORMAT = 1


@dataclass(frozen=True)
class LinkedVehicle:
    """A vehicle: its `name`, a plate or a folder's name, its `sightings` by time, and the `folders` they lie in."""

    name: str
    sightings: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Links:
    """All vehicles of a gallery as they were linked at `when` (seconds since 1970) with vectors of `model`, from the
    similarity `threshold` on. `notes` are lines about what could not be as it was asked for."""

    vehicles: tuple[LinkedVehicle, ...]
    threshold: float
    model: str
    when: float
    settings: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @cached_property
    def of_sighting(self) -> Mapping[str, LinkedVehicle]:
        """The vehicle of each sighting."""
        return {sighting: vehicle for vehicle in self.vehicles for sighting in vehicle.sightings}

    @property
    def joined(self) -> tuple[LinkedVehicle, ...]:
        """Those of several sightings."""
        return tuple(vehicle for vehicle in self.vehicles if len(vehicle.sightings) > 1)


def named(groups: Sequence[Sequence[Seen]]) -> tuple[LinkedVehicle, ...]:
    """Vehicles of groups of sightings, by name.

    A vehicle is called by what a person has called a folder of it, else by the plate that was read most surely (the
    greatest sum of confidences), else `unknown-` after its first sighting. Of two that would be called alike the one
    with more sightings has the name, the next ones `<name> (2)`, ...
    """
    ordered = [sorted(group, key=lambda one: (one.start is None, one.start or 0.0, one.id)) for group in groups]
    ordered.sort(key=lambda group: (-len(group), group[0].id))
    taken: Counter[str] = Counter()
    found = []
    for group in ordered:
        name = _name(group)
        taken[name] += 1
        folders = tuple(dict.fromkeys(one.vehicle for one in group))
        called = name if taken[name] == 1 else f"{name} ({taken[name]})"
        found.append(LinkedVehicle(called, tuple(one.id for one in group), folders))
    return tuple(sorted(found, key=lambda vehicle: vehicle.name))


def keep(root: Path, links: Links) -> None:
    """Write them beside the gallery `root`, whole or not at all. OSError: they cannot be written."""
    vehicles = [
        {"name": one.name, "sightings": list(one.sightings), "folders": list(one.folders)} for one in links.vehicles
    ]
    content = {
        "format": _FORMAT,
        "when": round(links.when, 3),
        "model": links.model,
        "threshold": round(links.threshold, 6),
        "settings": dict(links.settings),
        "notes": list(links.notes),
        "vehicles": vehicles,
    }
    save(root / FOLDER / FILE, (json.dumps(content, ensure_ascii=True) + "\n").encode("ascii"))


def drop(root: Path) -> None:
    """Remove what was linked, which may name vehicles and plates that shall be forgotten; the next link makes it again.
    What people said stays: it names sightings by their ids alone."""
    for name in (FILE, COMPARISONS):
        path = root / FOLDER / name
        if not path.parent.is_symlink():
            path.unlink(missing_ok=True)


def read(root: Path) -> Links:
    """What was linked last.

    Raises:
        ReIDError: nothing was linked yet, or it cannot be read.
    """
    path = root / FOLDER / FILE
    try:
        if path.is_symlink() or path.parent.is_symlink():
            raise ReIDError(f"{path} is a link, and links in a gallery are not followed. Remove it.")
        values = json.loads(path.read_bytes())
        if values["format"] != _FORMAT:
            raise ValueError(f"format {values['format']!r}, this version reads {_FORMAT}")
        vehicles = tuple(
            LinkedVehicle(str(one["name"]), tuple(map(str, one["sightings"])), tuple(map(str, one["folders"])))
            for one in values["vehicles"]
        )
        return Links(
            vehicles,
            float(values["threshold"]),
            str(values["model"]),
            float(values["when"]),
            dict(values["settings"]),
            tuple(map(str, values["notes"])),
        )
    except FileNotFoundError as error:
        raise ReIDError(f"Nothing in {root} is linked yet: reid link gallery=<folder>.") from error
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReIDError(f"{path} is damaged ({error}); link again: reid link gallery=<folder>.") from error


def _name(group: Sequence[Seen]) -> str:
    given = Counter(one.vehicle for one in group if one.placed)
    if given:
        return min(given, key=lambda name: (-given[name], name))
    plates: dict[str, float] = {}
    for one in group:
        if one.plate is not None:
            plates[one.plate] = plates.get(one.plate, 0.0) + one.plate_confidence
    if plates:
        return min(plates, key=lambda plate: (-plates[plate], plate))
    return unknown_name(group[0].id)
