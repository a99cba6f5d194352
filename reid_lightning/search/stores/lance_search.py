"""Searching a table of LanceDB: a copy in memory that follows the table's versions, or the engine's files and their
indexes where memory does not hold it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Filter, Hit
from reid_lightning.search.stores.base import (
    EVERYTHING,
    EXACT_UP_TO,
    FIELDS,
    SCAN_ROWS,
    ReplacedStoreError,
    best_first,
)
from reid_lightning.search.stores.exact import ROW_BYTES, ExactVectors, to_records
from reid_lightning.search.stores.lance_errors import damaged
from reid_lightning.search.stores.lance_rows import clause_of, have_length_1, keeps_rows, lineage_of, vectors_of

with extra("search"):
    import pyarrow as pa
    from lancedb.index import Bitmap, BTree, IvfSq
    from lancedb.table import Table

_PARTITION_ROWS, _PARTITIONS = 4096, 256  # of the index of vectors, a byte a number: product codes take minutes
_REFINE = 20  # times top_k candidates are compared again by their full vectors
_SPARE = 10  # more than asked for: equal scores at the end are then sorted by id
_UNINDEXED = 8  # of a table, 1 in so many may be in no index yet: the files compare them all
_UNUSED = 1024  # places of the copy, beside a quarter of it, before it is read again as a whole
_PAYS = 64  # queries of a process, which cost in the files about as much as reading the copy
_LOOKS = 5  # at a table that another thread takes to newer versions meanwhile


@dataclass(frozen=True)
class _Copy:
    """Of which table, at which version."""

    table: object
    version: int
    vectors: ExactVectors


class LanceSearch:
    """Remembers a copy, and reads what has changed since.

    Args:
        uri: of the store, for messages.
        rows: of the table up to which they are kept in memory; None: as many as `memory` holds.
        memory: MiB that the copy may take.
    """

    def __init__(self, uri: str, *, rows: int | None, memory: int) -> None:
        self._uri, self._rows, self._memory = uri, rows, memory << 20
        self._copy: _Copy | None = None
        self._asked = 0  # queries that the files have answered
        self._lock = threading.Lock()

    def rows_in_memory(self, dim: int) -> int:
        """So many vectors (dim) are compared in memory, and with more all are searched in the files."""
        fit = self._memory // (2 * dim + ROW_BYTES)
        return fit if self._rows is None else min(fit, self._rows)

    def rows_without_index(self, dim: int) -> int:
        """With so many vectors (dim) or fewer there is nothing that the files would answer faster."""
        return min(EXACT_UP_TO, self.rows_in_memory(dim))

    def find(
        self, table: Table, identity: object, vectors: np.ndarray, *, top_k: int, where: Filter
    ) -> list[list[Hit]]:
        """As `VectorStore.search`; `identity` is another one after another table has taken the place of this one.

        The first queries of a process are answered by the index of a large table, until they have cost as much as
        reading the copy, which makes all others faster and is exact.
        """
        rows, dim = table.count_rows(), vectors.shape[1]
        if rows > self.rows_in_memory(dim):
            self.forget()
        elif self._copy is not None or self._pays(table, rows, dim, len(vectors)):
            return self._in_memory(table, identity, dim).search(vectors, top_k=top_k, where=where)
        return [self.in_files(table, vector, top_k, where) for vector in vectors]

    def forget(self) -> None:
        """Let go of the copy."""
        self._copy = None

    def _pays(self, table: Table, rows: int, dim: int, queries: int) -> bool:
        """Whether to read the copy for so many more queries."""
        self._asked += queries
        if rows <= self.rows_without_index(dim) or self._asked >= _PAYS:
            return True
        index = next((index for index in table.list_indices() if "vector" in index.columns), None)
        state = None if index is None else table.index_stats(index.name)
        return state is None or state.num_unindexed_rows > rows // _UNINDEXED

    def _in_memory(self, table: Table, identity: object, dim: int) -> ExactVectors:
        with self._lock:
            for _ in range(_LOOKS):
                version, which = table.version, (identity, lineage_of(table.schema))
                before = self._copy
                if before is not None and (before.table, before.version) == (which, version):
                    return before.vectors
                follows = before is not None and before.table == which and before.version < version
                self._copy = None
                if before is not None and follows and keeps_rows(table.schema):
                    new = self._followed(table, before)
                else:
                    del before  # both would not fit into memory
                    new = self._appended(table, ExactVectors(dim), since=0)[0]
                if table.version == version:  # and no other thread took it to a newer one meanwhile
                    self._copy = _Copy(which, version, new)
                    return new
        raise ReplacedStoreError(f"The vector store {self._uri} was written to all the time; start again.")

    def _followed(self, table: Table, before: _Copy) -> ExactVectors:
        """The copy of a later version: only what was written since is read."""
        places = before.vectors.places
        vectors, rows = self._appended(table, before.vectors, since=before.version)
        vectors = vectors.without(rows, places=places)
        if len(vectors) != table.count_rows():  # what is new is in, so something was deleted
            rows = table.search().select(["time"]).with_row_id(True).to_arrow()["_rowid"].to_numpy()
            vectors = vectors.only(rows)
        if vectors.places > _UNUSED + len(vectors) * 5 // 4:
            vectors = self._appended(table, ExactVectors(before.vectors.dim), since=0)[0]
        return vectors

    def _appended(self, table: Table, vectors: ExactVectors, *, since: int) -> tuple[ExactVectors, np.ndarray]:
        """With what was written after the version `since`, and its rows."""
        query = table.search().select([*FIELDS, "vector"]).with_row_id(True)
        query = query.where(f"_row_last_updated_at_version > {since}") if since else query
        rows = [np.empty(0, np.uint64)]
        for batch in query.to_batches(SCAN_ROWS):
            part = pa.Table.from_batches([batch])
            rows.append(part["_rowid"].to_numpy())
            vectors = vectors.appended(rows[-1], part, self.vectors(part))
        return vectors, np.concatenate(rows)

    def vectors(self, rows: pa.Table) -> np.ndarray:
        """(N, dim) float16. DamagedStoreError: they are not of length 1."""
        vectors = vectors_of(rows)
        if not have_length_1(vectors):
            raise damaged(f"The vector store {self._uri} cannot be read: it holds vectors that are not of length 1.")
        return vectors

    def in_files(self, table: Table, vector: np.ndarray, top_k: int, where: Filter = EVERYTHING) -> list[Hit]:
        """By the engine, which reads the files."""
        limit, clause = top_k + _SPARE, clause_of(where)
        while True:
            query = table.search(vector, vector_column_name="vector").distance_type("cosine")  # type: ignore[attr-defined]
            if has_index(table):
                # All partitions: a sixth of them held .8 of the answers, and reading the small codes takes little
                # beside comparing the best again by their full vectors.
                query = query.nprobes(_PARTITIONS).refine_factor(_REFINE)
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


def make_indexes(table: Table) -> None:
    """For searches in the files: of vectors, and of what a filter may ask for."""
    for column, config in (
        ("id", BTree()),
        ("vehicle", BTree()),
        ("time", BTree()),
        ("camera", Bitmap()),
        ("type", Bitmap()),
    ):
        table.create_index(column, config=config)
    # As all are looked at, more of them would only cost: building takes vectors times partitions.
    partitions = min(_PARTITIONS, max(1, table.count_rows() // _PARTITION_ROWS))
    table.create_index("vector", config=IvfSq(distance_type="cosine", num_partitions=partitions))
