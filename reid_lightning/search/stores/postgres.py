"""A store in a database: PostgreSQL with the extension pgvector, reached by URI.

The table `reid_stores` says which table holds the vectors of a name, so that a rebuilt one takes its place in one
transaction. Vectors are kept as float16, which moves a cosine similarity by less than 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import (
    EVERYTHING,
    SCAN_ROWS,
    best_first,
    check_batch,
    check_filter,
    check_search,
    no_vectors,
    settle_model,
)
from reid_lightning.search.stores.postgres_catalogue import Catalogue, Entry
from reid_lightning.search.stores.postgres_rows import COLUMNS, condition_of, register_vectors, to_record, write_rows
from reid_lightning.search.stores.postgres_server import PostgresServer
from reid_lightning.search.stores.server import ServerStore

with extra("postgres"):
    import psycopg
    from psycopg import sql

Cursor = psycopg.Cursor[Any]

_NUMBERS = 1 << 20  # of vectors in one piece of a scan
_SPARE = 10  # more than asked for of an index: equal scores at the end are then sorted by id
_MOST_OF_INDEX = 200
_BY_INDEX = (
    "SET LOCAL hnsw.ef_search = 400; SET LOCAL hnsw.iterative_scan = strict_order; SET LOCAL enable_seqscan = off"
)
_BY_COMPARING = "SET LOCAL enable_indexscan = off"  # that of vectors; those of what is filtered by are still used
_INDEX_DIM = 4000  # numbers, more of which pgvector puts into no index
_INDEX_MIB = 4096  # of the server's memory that building an index may take


class PostgresStore(ServerStore):
    """A `VectorStore`; see `open_store` for the arguments."""

    def __init__(
        self,
        uri: str,
        *,
        model: tuple[str, int] | None,
        name: str,
        exact_up_to: int,
        any_model: bool,
        create: bool,
        token: str | None = None,
    ) -> None:
        self._server = PostgresServer(uri, token)
        self._uri, self._exact_up_to, self._any_model = self._server.uri, exact_up_to, any_model
        self._catalogue = Catalogue(name, self._uri)

        def opened(cursor: Cursor) -> Entry:
            entry = self._catalogue.entry(cursor) if self._catalogue.exists(cursor) else None
            if entry is None:
                raise no_vectors(self._uri, name)
            return entry

        def made(cursor: Cursor, model: tuple[str, int]) -> None:
            self._catalogue.make(cursor, model, any_model=any_model)
            register_vectors(cursor.connection)  # the extension may be new

        if create and model is not None:
            self._server.call("reached", partial(made, model=model))
        entry = self._server.call("reached", opened)
        if not any_model:
            self._catalogue.check_format(entry)
        self.fingerprint, self.dim = settle_model(self._uri, entry.model, model, any_model=any_model)

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        records, vectors = check_batch(records, vectors, dim=self.dim)
        if records:
            self._write(lambda cursor, table: write_rows(cursor, table, records, vectors))

    def delete(self, ids: Sequence[str]) -> None:
        statement = sql.SQL("DELETE FROM {} WHERE id = ANY(%s::text[])")
        if ids:
            self._write(lambda cursor, table: cursor.execute(statement.format(table), (list(ids),)))

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """One transaction: until its end nobody sees the new table, and what others write goes with the old one."""
        with self._server.alone("written") as connection, connection.transaction(), connection.cursor() as cursor:
            table = self._catalogue.new_table(cursor, self.dim)
            for records, vectors in batches:
                write_rows(cursor, sql.Identifier(table), *check_batch(records, vectors, dim=self.dim))
            self._catalogue.point_to(cursor, table, (self.fingerprint, self.dim))
        self._any_model = False
        self._server.call("tidied", self._catalogue.remove_left_over)

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        vectors = check_search(vectors, dim=self.dim, top_k=top_k, where=where)
        condition, values = condition_of(where)

        def find(cursor: Cursor) -> list[list[Hit]]:
            entry = self._settled(cursor)
            near = where.is_empty and top_k <= _MOST_OF_INDEX and entry.indexed_rows > self._exact_up_to
            statement = sql.SQL(
                "SELECT {columns}, -(vector <#> %(query)s) FROM {table} WHERE {condition} "
                "ORDER BY vector <#> %(query)s{then} LIMIT %(limit)s"
            ).format(
                columns=COLUMNS,
                table=sql.Identifier(entry.table),
                condition=condition,
                then=sql.SQL("" if near else ", id"),
            )
            cursor.execute(_BY_INDEX if near else _BY_COMPARING)
            limit = top_k + _SPARE if near else top_k
            found = []
            for query in vectors:
                cursor.execute(statement, {**values, "query": query, "limit": limit})
                found.append(best_first([Hit(to_record(row), float(row[-1])) for row in cursor.fetchall()], top_k))
            return found

        return self._server.call("read", find)

    def count(self, where: Filter = EVERYTHING) -> int:
        check_filter(where)
        condition, values = condition_of(where)

        def count(cursor: Cursor) -> int:
            table = sql.Identifier(self._settled(cursor).table)
            cursor.execute(sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table, condition), values)
            return int(cursor.fetchall()[0][0])

        return self._server.call("read", count)

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        for rows in self._rows(where, COLUMNS):
            yield [to_record(row) for row in rows]

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        for rows in self._rows(where, sql.SQL("{}, vector").format(COLUMNS)):
            yield [to_record(row) for row in rows], np.array([row[-1] for row in rows], np.float32)

    def optimize(self) -> None:
        """Others read and write meanwhile; where another process is at it, this one leaves it to that one."""
        entry = self._server.call("read", self._settled)
        self._server.call("tidied", self._catalogue.remove_left_over)
        with self._server.alone("indexed") as connection:
            if not connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", (entry.table,)).fetchall()[0][0]:
                return
            table, index = sql.Identifier(entry.table), sql.Identifier(entry.index)
            connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(table))
            rows = int(connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchall()[0][0])
            if rows <= self._exact_up_to or self.dim > _INDEX_DIM or entry.indexed_rows:
                return
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))  # one that was not finished
            mib = min(_INDEX_MIB, 64 + rows * (2 * self.dim + 512) // (1 << 20))
            connection.execute("SELECT set_config('maintenance_work_mem', %s, false)", (f"{mib}MB",))
            connection.execute(
                sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING hnsw (vector halfvec_ip_ops)").format(index, table)
            )

    def purge(self) -> None:
        """The table is written again; others wait. The server's log (WAL) keeps the old bytes until it is recycled."""
        entry = self._server.call("read", self._settled)
        with self._server.alone("compacted") as connection:
            connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(entry.table)))

    def drop(self) -> None:
        self._server.call("dropped", self._catalogue.drop)
        self._server.call("dropped", self._catalogue.remove_left_over)

    def close(self) -> None:
        self._server.close()

    def _settled(self, cursor: Cursor, *, lock: str = "") -> Entry:
        """The table of the vectors, which is still of our model; `lock`: until the transaction ends."""
        model = self.fingerprint, self.dim
        return self._catalogue.settled(cursor, model, any_model=self._any_model, lock=lock)

    def _write(self, action: Callable[[Cursor, sql.Identifier], object]) -> None:
        """While it lasts no other table takes the place of this one."""
        self._server.call(
            "written", lambda cursor: action(cursor, sql.Identifier(self._settled(cursor, lock="FOR SHARE").table))
        )

    def _rows(self, where: Filter, columns: sql.Composable) -> Iterator[list[tuple[Any, ...]]]:
        """All of one moment, whatever is written meanwhile, on a connection of its own."""
        check_filter(where)
        condition, values = condition_of(where)
        with self._server.alone("read") as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            table = sql.Identifier(self._settled(connection.cursor()).table)
            with connection.cursor("scan", binary=True) as cursor:
                cursor.execute(sql.SQL("SELECT {} FROM {} WHERE {}").format(columns, table, condition), values)
                while rows := cursor.fetchmany(min(SCAN_ROWS, max(1, _NUMBERS // self.dim))):
                    yield rows
