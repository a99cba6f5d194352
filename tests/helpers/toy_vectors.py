"""Drawn vectors and records of them, as one model would give them."""

from __future__ import annotations

import numpy as np

from reid_lightning.search.records import VectorRecord

DIM = 16
MODEL = {"fingerprint": "model-a", "dim": DIM}


def vectors(count: int, *, seed: int = 0, dim: int = DIM) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def records(count: int, *, prefix: str = "r") -> list[VectorRecord]:
    """Every record of another mixture of vehicle, camera, type and time; every fifth without a time."""
    types = ("car", "truck", "bus")
    return [
        VectorRecord(
            id=f"{prefix}{i:04d}-0",
            sighting=f"{prefix}{i:04d}",
            vehicle=f"V{i % 7}",
            camera=f"c{i % 3}",
            type=types[i % 3],
            time=None if i % 5 == 0 else 1e9 + i,
        )
        for i in range(count)
    ]
