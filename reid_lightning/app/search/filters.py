"""What the registered pictures can be filtered by: the gallery's own cameras, types and times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reid_lightning.app.gallery.statistics import moment
from reid_lightning.search.records import VectorRecord


@dataclass(frozen=True)
class Offered:
    """Cameras and types of registered pictures, and when the first and the last sighting began, in seconds since 1970;
    None where nobody knows. Times that no calendar shows do not count."""

    cameras: tuple[str, ...]
    types: tuple[str, ...]
    first: float | None
    last: float | None


def offered(parts: Iterable[list[VectorRecord]]) -> Offered:
    """From what `VectorStore.records` gives."""
    cameras: set[str] = set()
    types: set[str] = set()
    first = last = None
    for record in (record for part in parts for record in part):
        cameras.add(record.camera)
        types.add(record.type)
        time = record.time
        if time is not None and moment(time) is not None:
            first = time if first is None else min(first, time)
            last = time if last is None else max(last, time)
    return Offered(tuple(sorted(cameras - {""})), tuple(sorted(types)), first, last)
