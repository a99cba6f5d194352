"""A gallery of vehicles that pass several cameras, with vectors made by hand: each vehicle has a direction of its own,
to which a camera adds one of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from toy_gallery import pictures, sighting
from toy_store import ToyStore

from reid_lightning.search.gallery import Gallery, records_of
from reid_lightning.search.plates import unknown_name

DIM = 32


@dataclass(frozen=True)
class Pass:
    """`vehicle` passes `camera` at `seconds`; `plate` is read there."""

    vehicle: int
    camera: str
    seconds: float
    plate: str | None = None
    confidence: float = 0.99
    folder: str | None = None
    length: float = 4.0


class TrafficStore(ToyStore):
    """Of longer vectors."""

    dim = DIM


def direction(name: str) -> np.ndarray:
    """(DIM,) of length 1, the same for the same name."""
    vector = np.random.default_rng(list(name.encode())).standard_normal(DIM)
    return vector / np.linalg.norm(vector)


def vectors_of(one: Pass, *, noise: float = 0.15, light: float = 0.5) -> np.ndarray:
    """(2, DIM) float32 of length 1."""
    random = np.random.default_rng([one.vehicle, int(10 * one.seconds), *one.camera.encode()])
    rows = direction(f"vehicle {one.vehicle}") + light * direction(f"camera {one.camera}")
    rows = rows + noise * random.standard_normal((2, DIM)) / np.sqrt(DIM) * 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def registered(
    root: Path, passes: Sequence[Pass], *, first: int = 0, store: ToyStore | None = None, noise: float = 0.15
) -> TrafficStore:
    """Put the passes into the gallery `root` and a store: pass n is the sighting `a<first + n>`."""
    gallery, kept = Gallery(root), store or TrafficStore()
    for number, one in enumerate(passes, start=first):
        made = sighting(
            number,
            one.folder or one.plate or unknown_name(f"a{number}"),
            camera=one.camera,
            start=one.seconds,
            end=one.seconds + one.length,
            plate=one.plate,
            plate_confidence=one.confidence if one.plate else 0.0,
        )
        gallery.add(made, pictures(number % 10))
        kept.upsert(records_of(gallery.find(made.id)), vectors_of(one, noise=noise))
    return kept


def city(vehicles: int, cameras: Sequence[str] = ("north", "south", "east"), *, gap: float = 40.0) -> list[Pass]:
    """Every vehicle passes every camera, one after the other."""
    return [
        Pass(vehicle, camera, 1e9 + 13.0 * vehicle + gap * place)
        for vehicle in range(vehicles)
        for place, camera in enumerate(cameras)
    ]
