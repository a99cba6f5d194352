"""A vector store in memory, which tells when it is called: for tests of what happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import EVERYTHING


class ToyStore:
    """Several of them with the same `content` are several processes' view of one store.

    Args:
        content: records and vectors by id.
        around: is called before and after each operation, with its name.
    """

    fingerprint, dim = "toy", 4

    def __init__(
        self,
        content: dict[str, tuple[VectorRecord, np.ndarray]] | None = None,
        around: Callable[[str], object] = lambda name: None,
    ) -> None:
        self.content = {} if content is None else content
        self.around = around

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        assert len(records) == len(vectors)
        self.around("upsert")
        self.content.update({record.id: (record, row) for record, row in zip(records, vectors, strict=True)})
        self.around("upserted")

    def delete(self, ids: Sequence[str]) -> None:
        self.around("delete")
        for identifier in ids:
            self.content.pop(identifier, None)
        self.around("deleted")

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        rows = {one.id: (one, row) for part, rows in batches for one, row in zip(part, rows, strict=True)}
        self.around("replace")
        self.content.clear()
        self.content.update(rows)
        self.around("replaced")

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        found = self._chosen(where)
        hits = [[Hit(record, float(row @ query)) for record, row in found] for query in vectors]
        return [sorted(some, key=lambda hit: (-hit.score, hit.record.id))[:top_k] for some in hits]

    def count(self, where: Filter = EVERYTHING) -> int:
        return len(self._chosen(where))

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        self.around("records")
        yield [record for record, _ in self._chosen(where)]

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        self.around("scan")
        found = self._chosen(where)
        if found:
            yield [record for record, _ in found], np.stack([row for _, row in found])
        self.around("scanned")

    def optimize(self) -> None:
        pass

    purge = drop = close = require_complete = mark_complete = optimize

    def problems(self) -> list[str]:
        return []

    def _chosen(self, where: Filter) -> list[tuple[VectorRecord, np.ndarray]]:
        return [row for row in self.content.values() if where.vehicles is None or row[0].vehicle in where.vehicles]
