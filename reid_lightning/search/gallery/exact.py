"""A small store in memory, ranked by the engine that evaluation uses: every vector is compared, filtered or not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from reid_lightning.ranking.precision import product
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.top_matches import top_matches
from reid_lightning.search.records import Filter, Hit, VectorRecord


class ExactVectors:
    """Records and vectors, fixed.

    Args:
        records: a table with the fields of `VectorRecord` as columns.
        vectors: (N, dim), any floating type; kept as float32 of length 1.
    """

    def __init__(self, records: pa.Table, vectors: np.ndarray) -> None:
        order = pc.sort_indices(records, sort_keys=[("id", "ascending")])  # equal scores come in this order
        self._records = records.take(order).combine_chunks()
        vectors = vectors[order.to_numpy()].astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        self._vectors = torch.from_numpy(vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter) -> list[list[Hit]]:
        """As `VectorStore.search`."""
        allowed = None if where.is_empty else torch.from_numpy(matches(self._records, where))
        if not len(vectors) or not len(self) or (allowed is not None and not allowed.any()):
            return [[] for _ in vectors]
        problem = RankingProblem(
            _Scores(torch.from_numpy(vectors), self._vectors, allowed),
            query_ids=torch.zeros(len(vectors), dtype=torch.int64),  # nobody asks who is right
            gallery_ids=torch.ones(len(self), dtype=torch.int64),
        )
        rows, scores = top_matches(problem, top_k)
        return [self._hits(*query) for query in zip(rows.tolist(), scores.tolist(), strict=True)]

    def _hits(self, rows: list[int], scores: list[float]) -> list[Hit]:
        found = [row for row in rows if row >= 0]
        return [
            Hit(record, score)
            for record, score in zip(to_records(self._records.take(found)), scores[: len(found)], strict=True)
        ]


class _Scores:
    """Cosine similarities of vectors of length 1; -inf where the filter says no."""

    metric = "cosine"
    similarity = True

    def __init__(self, query: Tensor, gallery: Tensor, allowed: Tensor | None) -> None:
        self._query, self._gallery = query, gallery
        self._refused = None if allowed is None else ~allowed
        self.sizes = len(query), len(gallery)
        self.device, self.dtype = gallery.device, gallery.dtype

    def block(self, start: int, end: int, *, out: Tensor) -> Tensor:
        product(self._query[start:end], self._gallery, out=out)
        return out if self._refused is None else out.masked_fill_(self._refused, -torch.inf)

    def comparable(self, start: int, scores: Tensor) -> Tensor:
        return scores


def matches(records: pa.Table, where: Filter) -> np.ndarray:
    """(N,) bool: which records a filter lets through."""
    allowed = np.ones(len(records), dtype=bool)
    for column, names in (("vehicle", where.vehicles), ("camera", where.cameras), ("type", where.types)):
        if names is not None:
            allowed &= pc.is_in(records[column], value_set=pa.array(names, pa.string())).to_numpy()
    if where.since is not None or where.until is not None:
        times = records["time"].to_numpy()  # NaN where unknown, which compares to nothing
        allowed &= times >= (-np.inf if where.since is None else where.since)
        if where.until is not None:
            allowed &= times < where.until
    return allowed


def to_records(table: pa.Table) -> list[VectorRecord]:
    """The rows of a table with those columns."""
    columns = (table[name].to_pylist() for name in ("id", "sighting", "vehicle", "camera", "type", "time"))
    return [VectorRecord(*values) for values in zip(*columns, strict=True)]
