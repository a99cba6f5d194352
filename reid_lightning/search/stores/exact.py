"""A small store in memory, ranked by the engine that evaluation uses: every vector is compared, filtered or not."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reid_lightning.errors import extra
from reid_lightning.ranking.equal_rows import EqualRows
from reid_lightning.ranking.precision import product
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.top_matches import top_matches
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import FIELDS

with extra("search"):
    import pyarrow as pa
    import pyarrow.compute as pc


_FEW = 4  # a filter that lets fewer than 1 in so many through has its vectors copied out


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
        self._equal = EqualRows.of(self._vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter) -> list[list[Hit]]:
        """As `VectorStore.search`."""
        allowed = matches(self._records, where)
        chosen, gallery, refused, equal = np.arange(len(self)), self._vectors, None, self._equal
        if _FEW * allowed.sum() < len(self):
            chosen = np.flatnonzero(allowed)
            rows = torch.from_numpy(chosen)
            gallery, equal = gallery[rows], equal.among(rows)
        elif not allowed.all():
            refused = torch.from_numpy(~allowed)
        if not len(vectors) or not len(gallery):
            return [[] for _ in vectors]
        problem = RankingProblem(
            _Scores(torch.from_numpy(vectors), gallery, refused, equal),
            query_ids=torch.zeros(len(vectors), dtype=torch.int64),  # nobody asks who is right
            gallery_ids=torch.ones(len(gallery), dtype=torch.int64),
        )
        found = zip(*(part.numpy() for part in top_matches(problem, top_k)), strict=True)
        return [self._hits(chosen[rows[rows >= 0]], scores[rows >= 0]) for rows, scores in found]

    def _hits(self, rows: np.ndarray, scores: np.ndarray) -> list[Hit]:
        return list(map(Hit, to_records(self._records.take(rows)), scores.tolist()))


class _Scores:
    """Cosine similarities of vectors of length 1, which need no dividing by lengths; -inf where a filter says no."""

    metric = "cosine"
    similarity = True

    def __init__(self, query: Tensor, gallery: Tensor, refused: Tensor | None, equal: EqualRows) -> None:
        self._query, self._gallery, self._refused, self._equal = query, gallery, refused, equal
        self.sizes = len(query), len(gallery)
        self.device, self.dtype = gallery.device, gallery.dtype

    def block(self, start: int, end: int, *, out: Tensor) -> Tensor:
        product(self._query[start:end], self._gallery, out=out)
        self._equal.copy_columns(out)  # so that they come by id
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
    columns = (table[name].to_pylist() for name in FIELDS)
    return [VectorRecord(*values) for values in zip(*columns, strict=True)]
