"""Drawn vectors and records of them, as one model would give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import VectorStore

DIM = 16
MODEL = {"fingerprint": "model-a", "dim": DIM}
Open = Callable[..., VectorStore]


class Server(Protocol):
    """Of vectors, at `uri`, which can be killed and started again."""

    uri: str

    def start(self) -> None: ...

    def kill(self) -> None: ...

    def restart(self) -> None: ...


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


def everything(store: VectorStore, where: Filter | None = None) -> dict[str, tuple[VectorRecord, np.ndarray]]:
    """All that a store holds, by id."""
    found: dict[str, tuple[VectorRecord, np.ndarray]] = {}
    for part, rows in store.scan(*([] if where is None else [where])):
        for record, row in zip(part, rows, strict=True):
            assert record.id not in found
            found[record.id] = record, row
    return found
