"""Sightings of two crops each, by number, and what is to be seen on these crops."""

from __future__ import annotations

import numpy as np

from reid_lightning.search.records import Crop, Sighting


def sighting(number: int, vehicle: str, **values: object) -> Sighting:
    crops = tuple(Crop("", k, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0) for k in range(2))
    given = {"camera": "north", "type": "car", "start": 1e9 + number, **values}
    return Sighting(
        f"a{number}", vehicle, source="f0", source_name="x", track=number, detector="d", crops=crops, **given
    )


def pictures(number: int) -> list[np.ndarray]:
    colours = ((250, 20 * number, 10), (20 * number, 250, 60))
    return [np.full((9, 9, 3), colour, np.uint8) for colour in colours]
