"""Sightings with their crops, as the tests of a gallery on disk add them, and what is then there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Crop, Sighting


def sighting(identifier: str = "a1", vehicle: str = "51G12345", *, crops: int = 2, **values: object) -> Sighting:
    boxes = tuple(Crop("", 7 + k, 0.5 + k, (1.0, 2.0, 31.5, 22.0), 0.9, 0.8) for k in range(crops))
    given = {"camera": "north", "source": "f00d", "source_name": "clip.mp4", "track": 3, "type": "car"}
    return Sighting(identifier, vehicle, detector="motion", crops=boxes, **{**given, **values})


def pictures(count: int = 2, *, level: int = 90) -> list[np.ndarray]:
    return [np.full((20, 30, 3), level + 40 * k, np.uint8) for k in range(count)]


def ids(gallery: Gallery) -> dict[str, str]:
    return {one.id: one.vehicle for one in gallery.sightings()}


def all_files(root: Path) -> set[str]:
    found = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {name for name in found if not name.endswith(".lock") and not name.startswith(".index/.sightings.")}
