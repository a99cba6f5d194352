"""The embedded store: LanceDB in this process, versioned files in a folder, no server.

Vectors are kept as float16, which moves a cosine similarity by less than 1e-3 and halves disk and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import TypeVar

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import (
    EVERYTHING,
    EXACT_UP_TO,
    FIELDS,
    SCAN_ROWS,
    StoreError,
    again,
    check_batch,
    check_filter,
    check_search,
    settle_model,
)
from reid_lightning.search.stores.exact import to_records
from reid_lightning.search.stores.lance_errors import damaged, is_engine_error, without_panics_shown
from reid_lightning.search.stores.lance_rows import (
    clause_of,
    model_of,
    one_of,
    schema_of,
    to_table,
)
from reid_lightning.search.stores.lance_search import LanceSearch, has_index, make_indexes
from reid_lightning.search.stores.lance_table import LanceTable

with extra("search"):
    import pyarrow as pa
    from lancedb.table import Table


_TIDY_EVERY = 64  # writes of this process: each leaves a small file and a version
_KEEP_VERSIONS = timedelta(minutes=10)  # other processes may still read them

T = TypeVar("T")


class LanceStore:
    """A `VectorStore`; see `open_store` for the arguments."""

    def __init__(
        self,
        uri: str,
        *,
        model: tuple[str, int] | None,
        name: str,
        exact_up_to: int | None,
        memory: int,
        any_model: bool,
        create: bool,
    ) -> None:
        self._uri, self._any_model = uri, any_model
        self._at = LanceTable(uri, name, checked_up_to=EXACT_UP_TO if exact_up_to is None else exact_up_to)
        self._search = LanceSearch(uri, rows=exact_up_to, memory=memory)
        self._writes = 0
        self._make = schema_of(*model) if create and model is not None else None
        if model is not None:
            self.fingerprint, self.dim = model
            if any_model and create:
                return  # what is there need not be readable: it is opened when somebody asks for it
        with self._at.errors("opened"):
            table = self._at.newest(make=self._make)
            if self._make is not None:
                table = self._take_over_empty(table, self._make)
            self.fingerprint, self.dim = settle_model(uri, model_of(table.schema), model, any_model=any_model)

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        records, vectors = check_batch(records, vectors, dim=self.dim)
        if not records:
            return

        def merge(table: Table) -> None:
            merging = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(to_table(records, vectors, schema_of(self.fingerprint, self.dim)))

        self._write(merge)

    def delete(self, ids: Sequence[str]) -> None:
        if ids:
            self._write(lambda table: table.delete(one_of("id", ids)))

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """What others write before the end goes. In a folder the old table is not opened, and goes
        from the disk with all of its versions."""
        schema = schema_of(self.fingerprint, self.dim)
        failed: list[BaseException] = []  # arrow would make a text of it

        def rows() -> Iterator[pa.RecordBatch]:
            try:
                for records, vectors in batches:
                    yield from to_table(*check_batch(records, vectors, dim=self.dim), schema).to_batches()
            except BaseException as error:
                failed.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(schema, rows())
        try:
            with self._at.errors("written"):
                if self._at.folder is None:
                    self._at.overwrite(reader)
                else:
                    self._at.refuse_foreign()
                    self._at.folder.make_store(make_way=True)
                    with self._at.folder.staging() as new:
                        self._at.write_new(new, reader)
                        with self._at.whole(), self._locked():
                            self._at.put(new, complete=True)
        except BaseException as error:
            raise failed[0] if failed else error from None
        self._any_model = False

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        vectors = check_search(vectors, dim=self.dim, top_k=top_k, where=where)

        def find(table: Table) -> list[list[Hit]]:
            self._at.require_complete()
            return self._search.find(table, self._at.identity, vectors, top_k=top_k, where=where)

        return self._read(find)

    def count(self, where: Filter = EVERYTHING) -> int:
        check_filter(where)

        def count(table: Table) -> int:
            self._at.require_complete()
            return table.count_rows(clause_of(where))

        return self._read(count)

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        for table in self._batches(where, FIELDS):
            yield to_records(table)

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        for table in self._batches(where, [*FIELDS, "vector"]):
            yield to_records(table), self._search.vectors(table).astype(np.float32)

    def require_complete(self) -> None:
        self._read(lambda table: self._at.require_complete())

    def mark_complete(self) -> None:
        self._at.mark_complete()

    def problems(self) -> list[str]:
        if changed := self._at.changed_files():
            return [str(damaged(f"{path} is not as it was written.")) for path in changed]
        try:
            with without_panics_shown():
                for _, vectors in self.scan():
                    probe = vectors[0]
                self.require_complete()
                if self.count():
                    self._read(lambda table: self._search.in_files(table, probe, 1))
        except ReIDError as error:
            return [str(error)]
        return []

    def optimize(self) -> None:
        """Writers wait while small files are joined, not while the index is built."""
        with self._writing() as table:
            self._writes = 0
            table.optimize(cleanup_older_than=_KEEP_VERSIONS)
            large = table.count_rows() > self._search.rows_without_index(self.dim)
            new = large and not has_index(table)
        if new:
            with self._at.errors("indexed"), self._at.whole():
                make_indexes(self._latest())
                with self._locked():
                    self._latest()
                    self._at.note()

    def purge(self) -> None:
        """Lance only marks deleted rows, so all others are written again."""
        schema = schema_of(self.fingerprint, self.dim)
        with self._at.errors("written"):
            if self._at.folder is None:
                self._at.overwrite(_rows(self._latest(), schema)).optimize(cleanup_older_than=timedelta(0))
            else:
                with self._at.folder.staging() as new, self._at.whole(), self._locked():
                    self._at.write_new(new, _rows(self._latest(), schema))
                    self._at.put(new)
        self.optimize()  # the index went with the old rows

    def drop(self) -> None:
        with self._at.errors("dropped"):
            self._at.drop()

    def close(self) -> None:
        self._search.forget()

    def _latest(self) -> Table:
        """The newest version, if it is still of our model."""
        table = self._at.newest(make=self._make)
        model = self.fingerprint, self.dim
        settle_model(self._uri, model_of(table.schema), model, any_model=self._any_model)
        return table

    def _read(self, action: Callable[[Table], T]) -> T:
        """Again where another process has put another table in the place of ours meanwhile."""

        def once() -> T:
            with self._at.errors("read"):
                table = self._latest()
                with nullcontext() if self._at.is_noted else without_panics_shown():
                    return action(table)

        return again(once)

    def _batches(self, where: Filter, columns: list[str]) -> Iterator[pa.Table]:
        check_filter(where)
        clause = clause_of(where)
        with self._at.errors("read"):
            query = self._latest().search().select(columns)
            reader = (query if clause is None else query.where(clause)).to_batches(SCAN_ROWS)
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])

    def _write(self, action: Callable[[Table], object]) -> None:
        """Once more where another process, on a file system that we cannot lock, has replaced all meanwhile."""
        with self._writing() as table:
            try:
                action(table)
            except BaseException as error:
                if not is_engine_error(error):
                    raise
                action(self._latest())

    @contextmanager
    def _writing(self) -> Iterator[Table]:
        """One writer at a time, at the newest version, with a note of what was written."""
        if not self._at.is_open:
            self._read(lambda table: None)  # it may have to be made, under the lock
        with self._at.errors("written"), self._locked():
            table = self._latest()
            yield table
            self._at.note()
            self._writes += 1
            if self._writes >= _TIDY_EVERY:
                self._writes = 0
                with suppress(StoreError), self._at.errors("tidied"):  # what was to be written is; the next one may
                    table.optimize(cleanup_older_than=_KEEP_VERSIONS)
                    self._at.note()

    def _locked(self) -> AbstractContextManager[None]:
        return self._at.locked()

    def _take_over_empty(self, table: Table, schema: pa.Schema) -> Table:
        """Make an empty table of another model one of ours."""
        if model_of(table.schema) == model_of(schema) or table.count_rows():
            return table
        with self._locked():  # somebody else may be filling it
            table = self._at.newest()
            if not table.count_rows():
                table = self._at.overwrite(schema.empty_table().to_reader())
                self._at.note()
        return table


def _rows(table: Table, schema: pa.Schema) -> pa.RecordBatchReader:
    """All rows of a table, as they are read."""
    parts = table.search().select([*FIELDS, "vector"]).to_batches(SCAN_ROWS)
    return pa.RecordBatchReader.from_batches(schema, (part.select(schema.names).cast(schema) for part in parts))
