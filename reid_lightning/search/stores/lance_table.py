"""A table of LanceDB, opened at its newest version, whichever it is by now and whoever has replaced it, and known to be
whole as far as can be seen."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.stores.base import ReplacedStoreError, no_vectors, outdated
from reid_lightning.search.stores.lance_errors import (
    check_name,
    damaged,
    is_engine_error,
    reported,
    without_panics_shown,
)
from reid_lightning.search.stores.lance_folder import Identity, TableFolder
from reid_lightning.search.stores.lance_rows import KEEPING_ROWS, foreign, is_ours, lineage_of, of_new_lineage
from reid_lightning.search.stores.lance_state import UNREADABLE, StateFile, TableState

with extra("search"):
    import lancedb
    import pyarrow as pa
    from lancedb.table import Table


_MANY = 1_000_000  # names of tables
_LOOKS = 5  # at a table that is older than a file of it says, before that is damage


class LanceTable:
    """The table `name` of the store `uri`, which is opened when it is asked for.

    Args:
        checked_up_to: with up to so many rows every file is compared with what was written, once.
    """

    def __init__(self, uri: str, name: str, *, checked_up_to: int) -> None:
        check_name(uri, name)
        self.uri, self.name = uri, name
        self._checked_up_to = checked_up_to
        self.folder = None if "://" in uri else TableFolder(uri, name)
        self._state = None if self.folder is None else StateFile(uri, name)
        self._table: Table | None = None
        self._opened: Identity | None = None
        self._outdated = False

    def newest(self, *, make: pa.Schema | None = None) -> Table:
        """At its newest version; made, if it is not there, where `make` says how.

        What is noted of it is read before and after, for others may write meanwhile.
        """
        behind = 0
        while True:
            state = None if self._state is None else self._state.read()
            identity = None if self.folder is None else self.folder.identity()
            known = 0 if self.folder is None else self.folder.newest_version()
            table = self._newest(make, state)
            if table.version < known and self._opened == identity:
                self._table = None  # opened again: a commit, or another table, may have come between
                behind += 1
                if behind < _LOOKS:
                    continue
                raise damaged(
                    f"The vector store {self.uri} cannot be read: version {known} says it is {table.version}."
                )
            if self._state is None or state is None:
                self._outdated = False
                return table
            same = state.lineage == lineage_of(table.schema)
            outdated = not (state.complete and same and table.version >= state.version)
            changed = self._state.changed(all_files=table.count_rows() <= self._checked_up_to) if same else []
            if state == self._state.read() or not (outdated or changed):
                self._outdated = outdated
                if changed:
                    raise damaged(f"The vector store {self.uri} cannot be read: {changed[0]} is not as it was written.")
                return table

    @property
    def is_open(self) -> bool:
        """Whether `newest` was called."""
        return self._table is not None

    @property
    def is_noted(self) -> bool:
        """Whether files are known to be as they were written, as far as they were looked at."""
        return self._state is None or self._state.read() not in (None, UNREADABLE)

    @property
    def identity(self) -> Identity | None:
        """Of the table that was opened last."""
        return self._opened

    def require_complete(self) -> None:
        """Raises `StoreError` if `newest` has found that something is missing."""
        if self._outdated and self._state is not None:
            raise outdated(self.uri, self._state.path)

    def mark_complete(self) -> None:
        """Nothing is missing any more."""
        if self._outdated:
            with self.errors("written"), self.locked():
                self.newest()
                self._outdated = False
                self.note()

    def changed_files(self) -> list[Path]:
        """Files that are not as they were written."""
        return [] if self._state is None else self._state.changed(all_files=True)

    def note(self) -> None:
        """To be called after each commit, under the lock."""
        if self._state is not None and self._table is not None:
            known = TableState(lineage_of(self._table.schema), self._table.version, complete=not self._outdated)
            self._state.write(known)

    def overwrite(self, rows: pa.RecordBatchReader) -> Table:
        """As a new version, which older ones are kept beside."""
        self._table = lancedb.connect(self.uri).create_table(self.name, data=rows, mode="overwrite")
        return self._table

    def write_new(self, folder: Path, rows: pa.RecordBatchReader) -> None:
        """A table that `put` can take, in the folder of `TableFolder.staging`."""
        schema = of_new_lineage(rows.schema)
        batches = (batch.replace_schema_metadata(schema.metadata) for batch in rows)
        new = pa.RecordBatchReader.from_batches(schema, batches)
        lancedb.connect(str(folder)).create_table(self.name, data=new, schema=schema, storage_options=KEEPING_ROWS)

    def put(self, folder: Path, *, complete: bool | None = None) -> None:
        """The new table in `folder` takes the place of the old one, which is there then, in whatever state it is. Under
        both locks. `complete`: whether all is in it that should be; None: as before."""
        if self.folder is None or self._state is None:
            raise ValueError("only a table in a folder can be replaced by another folder")
        self._state.remove()
        self.folder.put(folder / f"{self.name}.lance")
        self._outdated = self._outdated if complete is None else not complete
        self._table = lancedb.connect(self.uri).open_table(self.name)
        self._opened = self.folder.identity()
        self.note()

    def drop(self) -> None:
        """Remove it, in whatever state it is."""
        if self.folder is None or self._state is None:
            connection = lancedb.connect(self.uri)
            if self.name in connection.table_names(limit=_MANY):
                connection.drop_table(self.name)
        elif self.folder.store.is_dir():
            with self.whole(), self.locked():
                self._state.remove()
                self.folder.drop()
        self._table = None

    def refuse_foreign(self) -> None:
        """What another program has made is not ours to replace."""
        if self.folder is None or not self.folder.exists() or self.is_noted:
            return
        try:
            with without_panics_shown():
                schema = lancedb.connect(self.uri).open_table(self.name).schema
        except BaseException as error:
            if not is_engine_error(error):
                raise
            return  # damaged
        if not is_ours(schema):
            raise foreign()

    def locked(self) -> AbstractContextManager[None]:
        """One writer at a time: conflicting commits of LanceDB would be tried again for seconds."""
        return nullcontext() if self.folder is None else self.folder.locked()

    def whole(self) -> AbstractContextManager[None]:
        """No other table takes the place of this one within it."""
        return nullcontext() if self.folder is None else self.folder.locked_whole()

    def is_another(self) -> bool:
        """Whether another one lies where the table was that was opened."""
        if self.folder is None or self._opened is None:
            return False
        try:
            identity = self.folder.identity()
        except OSError:
            return False
        noted = None if self._state is None else self._state.read()
        return identity is not None and (identity != self._opened or not self._is_as_noted(noted))

    @contextmanager
    def errors(self, done: str) -> Iterator[None]:
        """Within it whatever the library raises is one `StoreError`; `done`: what was to be done with the store."""
        try:
            yield
        except ReIDError:
            raise
        except BaseException as error:
            if not is_engine_error(error):
                raise
            if self.is_another():
                raise ReplacedStoreError(
                    f"The vector store {self.uri} was made again by another process meanwhile; start again."
                ) from error
            raise reported(error, self.uri, done=done) from error

    def _newest(self, make: pa.Schema | None, state: TableState | None) -> Table:
        identity = None if self.folder is None else self.folder.identity()
        if self._table is not None and identity == self._opened and self._is_as_noted(state):
            self._table.checkout_latest()
            return self._table
        if os.path.lexists(self.uri) and not os.path.isdir(self.uri):
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder")
        if self.folder is not None and self._exists(None):
            with without_panics_shown():
                self._table = lancedb.connect(self.uri).open_table(self.name)
        elif self._table is not None:
            raise FileNotFoundError(errno.ENOENT, "the table is not there any more")
        else:
            self._table = self._first(make)
        self._opened = None if self.folder is None else self.folder.identity()
        return self._table

    def _is_as_noted(self, state: TableState | None) -> bool:
        """Of two new tables in a row the second one may get the inodes that the first one has freed, but never its
        lineage."""
        if self._table is None or state is None or state == UNREADABLE:
            return True  # nothing says otherwise
        return state.lineage == lineage_of(self._table.schema)

    def _first(self, make: pa.Schema | None) -> Table:
        if make is None and self.folder is not None:
            raise no_vectors(self.uri, self.name)
        if self.folder is not None:
            self.folder.make_store()
        connection = lancedb.connect(self.uri)
        if self._exists(connection):
            return connection.open_table(self.name)
        if make is None:
            raise no_vectors(self.uri, self.name)
        with self.locked():  # somebody else may be making it
            schema = of_new_lineage(make)
            return connection.create_table(self.name, schema=schema, exist_ok=True, storage_options=KEEPING_ROWS)

    def _exists(self, connection: lancedb.DBConnection | None) -> bool:
        if self.folder is not None:
            return self.folder.exists()
        return connection is not None and self.name in connection.table_names(limit=_MANY)
