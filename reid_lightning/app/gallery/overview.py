"""All vehicles in short, kept between two looks: a folder that has not changed is not read again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from reid_lightning.search.gallery import Gallery, VehicleSummary
from reid_lightning.search.gallery.summary import summary_of
from reid_lightning.search.gallery.vehicle_folder import read_folder, vehicle_folders
from reid_lightning.search.records import Sighting

_SURE_AFTER = 2_000_000_000  # nanoseconds: a folder that changed later may change again within its clock's tick


@dataclass(frozen=True)
class SightingEntry:
    """What lists, filters and statistics need of a sighting; times in seconds since 1970, None unknown."""

    camera: str
    type: str
    plate: str | None
    start: float | None
    end: float | None
    crops: int


@dataclass(frozen=True)
class VehicleEntry:
    """A vehicle, its sightings in short, and the file of its best picture."""

    summary: VehicleSummary
    sightings: tuple[SightingEntry, ...]
    cover: Path


@dataclass(frozen=True)
class Overview:
    """All that is registered, by name, and lines about what cannot be read."""

    vehicles: tuple[VehicleEntry, ...]
    problems: tuple[str, ...]


class GalleryOverview:
    """Looks at one gallery, for any number of threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, VehicleEntry | None, tuple[str, ...]]] = {}

    def look(self) -> Overview:
        """What there is now; one call to the file system for each vehicle that is as it was."""
        with self._lock:
            names, problems = vehicle_folders(self._root)
            read: dict[str, tuple[int, VehicleEntry | None, tuple[str, ...]]] = {}
            for name in names:
                try:
                    changed = (self._root / name).stat().st_mtime_ns
                except FileNotFoundError:
                    continue
                earlier = self._read.get(name)
                read[name] = earlier if earlier is not None and earlier[0] == changed else self._entry(name, changed)
            self._read = read
        entries = tuple(entry for _, entry, _ in read.values() if entry is not None)
        return Overview(entries, (*problems, *(line for _, _, lines in read.values() for line in lines)))

    def _entry(self, name: str, changed: int) -> tuple[int, VehicleEntry | None, tuple[str, ...]]:
        content = read_folder(self._root / name)
        sure = time.time_ns() - changed > _SURE_AFTER
        return changed if sure else -1, entry_of(self._root, name, content.sightings), content.problems


def entry_of(root: Path, vehicle: str, sightings: tuple[Sighting, ...]) -> VehicleEntry | None:
    """Of all sightings of a vehicle; None: it has none."""
    if not sightings:
        return None
    crops = [crop for sighting in sightings for crop in sighting.crops]
    best = max(crops, key=lambda crop: crop.quality)
    entries = (SightingEntry(one.camera, one.type, one.plate, one.start, one.end, len(one.crops)) for one in sightings)
    return VehicleEntry(summary_of(vehicle, sightings), tuple(entries), root / vehicle / best.file)


def overview_of(gallery: Gallery) -> Overview:
    """Of a gallery that all browser tabs look at."""
    return _shared(str(gallery.root.absolute()), str(gallery.root)).look()


@st.cache_resource(show_spinner=False, max_entries=4)
def _shared(place: str, root: str) -> GalleryOverview:  # messages name the folder as the user did
    return GalleryOverview(Path(root))
