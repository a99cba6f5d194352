"""The nearest pictures of several vehicles, from a store that counts pictures.

A vehicle with thousands of pictures would otherwise hide all others behind its own.
"""

from __future__ import annotations

from torch import Tensor

from reid_lightning.search.gallery import VectorStore
from reid_lightning.search.records import Filter, Hit

MOST_HITS = 16_384
"""Pictures asked for at a time: a Milvus server gives no more."""
_PER_VEHICLE = 8


class VehicleHits:
    """Asks a store until `top_k` vehicles have come; what had to be asked for once is asked for at once from then on.

    Args:
        store: the registered pictures.
        top_k: vehicles for each embedding; fewer come where the filter lets fewer through, or where the nearest
            `MOST_HITS` pictures show fewer.
        where: which pictures count.
    """

    def __init__(self, store: VectorStore, *, top_k: int, where: Filter) -> None:
        self._store = store
        self._where = where
        self._wanted = top_k if where.vehicles is None else max(1, min(top_k, len(set(where.vehicles))))
        self._first = self._asked = min(top_k * _PER_VEHICLE, MOST_HITS)
        self.registered = store.count(where)
        """Pictures that the filter lets through, when this was made."""

    def __call__(self, embeddings: Tensor) -> list[list[Hit]]:
        """(N, dim), of length 1 -> N lists, best first."""
        while True:
            hits = self._store.search(embeddings.numpy(), top_k=self._asked, where=self._where)
            vehicles = [len({hit.record.vehicle for hit in found}) for found in hits]
            short = [len(found) for found, number in zip(hits, vehicles, strict=True) if number < self._wanted]
            if short and short[0] >= self.registered:  # that was all: there are no more vehicles to ask for
                self._wanted, self._asked = max(1, min(vehicles)), self._first
                return hits
            if self._asked not in short or self._asked == MOST_HITS:
                return hits
            self._asked = min(4 * self._asked, MOST_HITS)
