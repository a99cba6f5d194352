"""Searching a table of LanceDB: a copy in memory that ranks every vector, or the engine's files and their index."""

from __future__ import annotations

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Filter, Hit
from reid_lightning.search.stores.base import FIELDS, best_first
from reid_lightning.search.stores.exact import ExactVectors, to_records
from reid_lightning.search.stores.lance_errors import damaged
from reid_lightning.search.stores.lance_rows import clause_of, have_length_1, vectors_of

with extra("search"):
    import pyarrow as pa
    from lancedb.table import Table

PARTITION_ROWS = 4096
"""Of the index, which holds a byte a number: product codes take minutes to train on float16."""
_REFINE = 10  # times top_k candidates are compared again by their full vectors
_SPARE = 10  # more than asked for: equal scores at the end are then sorted by id


class LanceSearch:
    """Remembers the copy of one version.

    Args:
        uri: of the store, for messages.
        exact_up_to: vectors up to which they are compared in memory.
    """

    def __init__(self, uri: str, exact_up_to: int) -> None:
        self._uri, self._exact_up_to = uri, exact_up_to
        self._copy: tuple[object, ExactVectors] | None = None  # of a version

    def find(self, table: Table, version: object, vectors: np.ndarray, *, top_k: int, where: Filter) -> list[list[Hit]]:
        """As `VectorStore.search`; `version` is the table's, another one after each change."""
        if table.count_rows() <= self._exact_up_to:
            return self._in_memory(table, version).search(vectors, top_k=top_k, where=where)
        clause = clause_of(where)
        if clause is not None and table.count_rows(clause) <= self._exact_up_to:
            return self._load(table, clause).search(vectors, top_k=top_k, where=Filter())
        return [self.in_files(table, vector, top_k, clause) for vector in vectors]

    def forget(self) -> None:
        """Let go of the copy."""
        self._copy = None

    def _in_memory(self, table: Table, version: object) -> ExactVectors:
        if self._copy is None or self._copy[0] != version:
            self._copy = version, self._load(table, None)
        return self._copy[1]

    def _load(self, table: Table, clause: str | None) -> ExactVectors:
        query = table.search().select([*FIELDS, "vector"])
        rows = (query if clause is None else query.where(clause)).to_arrow()
        return ExactVectors(rows.select(FIELDS), self.vectors(rows))

    def vectors(self, rows: pa.Table) -> np.ndarray:
        """(N, dim) float16. DamagedStoreError: they are not of length 1."""
        vectors = vectors_of(rows)
        if not have_length_1(vectors):
            raise damaged(f"The vector store {self._uri} cannot be read: it holds vectors that are not of length 1.")
        return vectors

    def in_files(self, table: Table, vector: np.ndarray, top_k: int, clause: str | None) -> list[Hit]:
        """By the engine, which reads the files."""
        limit = top_k + _SPARE
        while True:
            query = table.search(vector, vector_column_name="vector").distance_type("cosine")  # type: ignore[attr-defined]
            if clause is None and has_index(table):
                # All partitions: a sixth of them held .8 of the answers, and reading the small codes takes little
                # beside comparing the best again by their full vectors.
                partitions = table.count_rows() // PARTITION_ROWS + 1
                query = query.nprobes(partitions).refine_factor(_REFINE)
            else:
                query = query.bypass_vector_index()
            if clause is not None:
                query = query.where(clause, prefilter=True)
            found = query.select([*FIELDS, "_distance"]).limit(limit).to_arrow()
            scores = (1 - found["_distance"].to_numpy()).tolist()
            if len(scores) < limit or scores[top_k - 1] != scores[-1]:
                return best_first([Hit(*pair) for pair in zip(to_records(found), scores, strict=True)], top_k)
            limit *= 4  # as good as the last one may be more, of which those with the first ids come


def has_index(table: Table) -> bool:
    """Whether there is one of vectors."""
    return any("vector" in index.columns for index in table.list_indices())
