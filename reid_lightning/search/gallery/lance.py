"""The embedded store: LanceDB in this process, versioned files in a folder, no server.

Vectors are kept as float16, which moves a cosine similarity by less than 1e-3 and halves disk and memory.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfSq

from reid_lightning.errors import ReIDError, first_line
from reid_lightning.search.gallery.exact import ExactVectors, to_records
from reid_lightning.search.gallery.files import locked
from reid_lightning.search.gallery.lance_rows import (
    FIELDS,
    clause_of,
    model_of,
    one_of,
    schema_of,
    to_table,
    vectors_of,
)
from reid_lightning.search.gallery.stores import (
    EVERYTHING,
    SCAN_ROWS,
    best_first,
    check_batch,
    check_filter,
    check_search,
    no_vectors,
    settle_model,
)
from reid_lightning.search.records import Filter, Hit, VectorRecord

_TIDY_EVERY = 64  # writes of this process: each leaves a small file and a version
_KEEP_VERSIONS = timedelta(minutes=10)  # other processes may still read them
_PARTITION_ROWS = 4096  # of the index; it holds a byte a number: product codes take minutes to train on float16
_REFINE = 10  # times top_k candidates are compared again by their full vectors
_SPARE = 10  # more than asked for: equal scores at the end are then sorted by id
_PLACE = re.compile(r"[\s,]*\S+\.rs:\d+(:\d+)?")  # in the library's source, which its messages end with


class LanceStore:
    """See `open_store` for the arguments."""

    def __init__(
        self,
        uri: str,
        *,
        model: tuple[str, int] | None,
        name: str,
        exact_up_to: int,
        any_model: bool,
        create: bool,
    ) -> None:
        self._uri, self._name, self._exact_up_to, self._any_model = uri, name, exact_up_to, any_model
        self._is_local = "://" not in uri
        self._writes = 0
        self._copy: tuple[int, ExactVectors] | None = None  # of a version
        with self._errors("opened"):
            if self._is_local and create:
                Path(uri).mkdir(parents=True, exist_ok=True)
            missing = self._is_local and not Path(uri).exists()
            if not missing:
                self._connection = lancedb.connect(uri)
            if not missing and self._exists():
                self._table = self._connection.open_table(name)
                if create and model is not None and not any_model:
                    self._take_over_empty(schema_of(*model))
            elif not create or model is None:
                raise no_vectors(uri, name)
            else:
                with self._locked():  # somebody else may be making it
                    self._table = self._connection.create_table(name, schema=schema_of(*model), exist_ok=True)
            self.fingerprint, self.dim = settle_model(uri, model_of(self._table.schema), model, any_model=any_model)

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        """See `VectorStore`."""
        records, vectors = check_batch(records, vectors, dim=self.dim)
        if not records:
            return

        def merge() -> None:
            merging = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(to_table(records, vectors, schema_of(self.fingerprint, self.dim)))

        self._write(merge)

    def delete(self, ids: Sequence[str]) -> None:
        """See `VectorStore`."""
        if ids:
            self._write(lambda: self._table.delete(one_of("id", ids)))

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """See `VectorStore`. One commit at the end, which other writers wait for; what they write before it goes."""
        schema = schema_of(self.fingerprint, self.dim)
        failed: list[Exception] = []  # arrow would make a text of it

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                for records, vectors in batches:
                    yield from to_table(*check_batch(records, vectors, dim=self.dim), schema).to_batches()
                commit.enter_context(self._locked())
            except Exception as error:
                failed.append(error)
                raise

        try:
            with self._errors("written"), ExitStack() as commit:
                reader = pa.RecordBatchReader.from_batches(schema, rows())
                self._table = self._connection.create_table(self._name, data=reader, schema=schema, mode="overwrite")
        except ReIDError as error:
            raise failed[0] if failed else error from None
        self._any_model = False

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        """See `VectorStore`."""
        vectors = check_search(vectors, dim=self.dim, top_k=top_k, where=where)
        with self._reading():
            if self._table.count_rows() <= self._exact_up_to:
                return self._in_memory().search(vectors, top_k=top_k, where=where)
            clause = clause_of(where)
            if clause is not None and self._table.count_rows(clause) <= self._exact_up_to:
                return self._load(clause).search(vectors, top_k=top_k, where=Filter())
            return [self._search_files(vector, top_k, clause) for vector in vectors]

    def count(self, where: Filter = EVERYTHING) -> int:
        """See `VectorStore`."""
        check_filter(where)
        with self._reading():
            return self._table.count_rows(clause_of(where))

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        """See `VectorStore`."""
        for table in self._batches(where, FIELDS):
            yield to_records(table)

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        """See `VectorStore`."""
        for table in self._batches(where, [*FIELDS, "vector"]):
            yield to_records(table), vectors_of(table, self.dim).astype(np.float32)

    def optimize(self) -> None:
        """See `VectorStore`. Writers wait while small files are joined, not while the index is built."""
        with self._writing():
            self._writes = 0
            self._table.optimize(cleanup_older_than=_KEEP_VERSIONS)
            large = self._table.count_rows() > self._exact_up_to
            new = large and not self._has_index()
        if new:
            with self._errors("indexed"):
                self._table.create_scalar_index("id", replace=True)
                partitions = max(1, self._table.count_rows() // _PARTITION_ROWS)
                self._table.create_index("vector", config=IvfSq(distance_type="cosine", num_partitions=partitions))

    def purge(self) -> None:
        """See `VectorStore`. Lance only marks deleted rows, so all others are written anew."""
        schema = schema_of(self.fingerprint, self.dim)
        with self._errors("written"), self._locked():
            self._table.checkout_latest()
            self._settle()
            rows = self._table.search().select([*FIELDS, "vector"]).to_batches(SCAN_ROWS)
            kept = pa.RecordBatchReader.from_batches(
                schema, (batch.select(schema.names).cast(schema) for batch in rows)
            )
            self._table = self._connection.create_table(self._name, data=kept, schema=schema, mode="overwrite")
            with warnings.catch_warnings():  # of what others may be writing: they wait for the lock
                warnings.simplefilter("ignore")
                self._table.optimize(cleanup_older_than=timedelta(0), delete_unverified=self._is_local)
        self.optimize()  # the index went with the old rows

    def drop(self) -> None:
        """See `VectorStore`."""
        with self._errors("dropped"), self._locked():
            if self._exists():
                self._connection.drop_table(self._name)

    def close(self) -> None:
        """See `VectorStore`."""
        self._copy = None

    def _exists(self) -> bool:
        return self._name in self._connection.table_names(limit=1_000_000)

    def _in_memory(self) -> ExactVectors:
        version = self._table.version
        if self._copy is None or self._copy[0] != version:
            self._copy = version, self._load(None)
        return self._copy[1]

    def _load(self, clause: str | None) -> ExactVectors:
        query = self._table.search().select([*FIELDS, "vector"])
        table = (query if clause is None else query.where(clause)).to_arrow()
        return ExactVectors(table.select(FIELDS), vectors_of(table, self.dim))

    def _search_files(self, vector: np.ndarray, top_k: int, clause: str | None) -> list[Hit]:
        query = self._table.search(vector, vector_column_name="vector").distance_type("cosine")  # type: ignore[attr-defined]
        if clause is None and self._has_index():
            # All partitions: a sixth of them held .8 of the answers, and reading the small codes takes little beside
            # comparing the best again by their full vectors.
            partitions = self._table.count_rows() // _PARTITION_ROWS + 1
            query = query.nprobes(partitions).refine_factor(_REFINE)
        else:
            query = query.bypass_vector_index()
        if clause is not None:
            query = query.where(clause, prefilter=True)
        table = query.select([*FIELDS, "_distance"]).limit(top_k + _SPARE).to_arrow()
        scores = (1 - table["_distance"].to_numpy()).tolist()
        return best_first([Hit(*pair) for pair in zip(to_records(table), scores, strict=True)], top_k)

    def _has_index(self) -> bool:
        return any("vector" in index.columns for index in self._table.list_indices())

    def _batches(self, where: Filter, columns: list[str]) -> Iterator[pa.Table]:
        check_filter(where)
        clause = clause_of(where)
        with self._reading():
            query = self._table.search().select(columns)
            reader = (query if clause is None else query.where(clause)).to_batches(SCAN_ROWS)
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """At the latest version, if it is still of our model."""
        with self._errors("read"):
            self._table.checkout_latest()
            self._settle()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time: conflicting commits of LanceDB would be tried again for seconds."""
        with self._errors("written"), self._locked():
            self._table.checkout_latest()
            self._settle()
            yield
            self._writes += 1
            if self._writes >= _TIDY_EVERY:
                self._writes = 0
                with suppress(RuntimeError, OSError):  # what was to be written is; the next one tidies up
                    self._table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    def _write(self, action: Callable[[], object]) -> None:
        """Once more where another process, on a file system that we cannot lock, has replaced all meanwhile."""
        with self._writing():
            try:
                action()
            except (RuntimeError, OSError, ValueError):
                self._table.checkout_latest()
                self._settle()
                action()

    def _take_over_empty(self, schema: pa.Schema) -> None:
        """Make an empty table of another model one of ours."""
        if model_of(self._table.schema) == model_of(schema) or self._table.count_rows():
            return
        with self._locked():  # somebody else may be filling it
            self._table.checkout_latest()
            if not self._table.count_rows():
                self._table = self._connection.create_table(self._name, schema=schema, mode="overwrite")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(Path(self._uri) / f".{self._name}.lock") if self._is_local else nullcontext()

    def _settle(self) -> None:
        settle_model(self._uri, model_of(self._table.schema), (self.fingerprint, self.dim), any_model=self._any_model)

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, OSError, ValueError, pa.ArrowException) as error:
            reason = _PLACE.sub("", first_line(error)).rstrip(".")
            raise ReIDError(
                f"The vector store {self._uri} cannot be {done}: {reason}. If it is damaged, `rebuild` makes it anew."
            ) from error
