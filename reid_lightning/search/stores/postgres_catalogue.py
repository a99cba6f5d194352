"""Which table of a PostgreSQL database holds the vectors of a store: the table `reid_stores`, and its versions.

Every function runs within a transaction of the caller.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from reid_lightning.errors import extra
from reid_lightning.search.stores.base import StoreError, settle_model

with extra("postgres"):
    import psycopg
    from psycopg import sql

Cursor = psycopg.Cursor[Any]

FORMAT = 1
"""Of the tables; it grows with every change to them."""
UPGRADES: dict[int, str] = {}
"""From each older format to the next one: statements with {table} for the table of the vectors."""

_CATALOGUE = """
CREATE TABLE IF NOT EXISTS reid_stores (
    name text COLLATE "C" PRIMARY KEY,
    "table" text NOT NULL,
    format integer NOT NULL,
    fingerprint text NOT NULL,
    dim integer NOT NULL
)"""
_TABLE = """
CREATE TABLE {table} (
    id text COLLATE "C" PRIMARY KEY,
    sighting text COLLATE "C" NOT NULL,
    vehicle text COLLATE "C" NOT NULL,
    camera text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    time float8,
    vector halfvec({dim}) NOT NULL
);
ALTER TABLE {table} ALTER vector SET STORAGE MAIN; -- beside the rest of its row: every search reads it
CREATE INDEX ON {table} (vehicle);
CREATE INDEX ON {table} (camera, time)"""
_ENTRY = """
SELECT "table", format, fingerprint, dim, coalesce((
    SELECT reltuples FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
    WHERE indexrelid = to_regclass("table" || '_near') AND indisvalid
), 0)
FROM reid_stores WHERE name = %s"""
_LEFT_OVER = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname ~ '^reid_[0-9a-f]{12}$'
AND relname NOT IN (SELECT "table" FROM reid_stores)"""


@dataclass(frozen=True)
class Entry:
    """A store's table, the format of it, its model (fingerprint and size), and about how many rows its index of vectors
    has; 0: it has none."""

    table: str
    format: int
    model: tuple[str, int]
    indexed_rows: int

    @property
    def index(self) -> str:
        """The name of its index of vectors, made or not."""
        return f"{self.table}_near"


class Catalogue:
    """The line of one store.

    Args:
        name: of the store.
        uri: of the server, for messages.
    """

    def __init__(self, name: str, uri: str) -> None:
        self._name, self._uri = name, uri

    def entry(self, cursor: Cursor, *, lock: str = "") -> Entry | None:
        """As it stands; None: there is none. `lock`: FOR SHARE, so that it stays so until the transaction ends."""
        cursor.execute(f"{_ENTRY} {lock}", (self._name,))
        for table, format_, fingerprint, dim, rows in cursor.fetchall():
            return Entry(table, format_, (fingerprint, dim), max(0, int(rows)))
        return None

    def exists(self, cursor: Cursor) -> bool:
        """Whether the database has such a table at all."""
        cursor.execute("SELECT to_regclass('reid_stores') IS NOT NULL")
        return bool(cursor.fetchall()[0][0])

    def make(self, cursor: Cursor, model: tuple[str, int], *, any_model: bool) -> None:
        """Make the store where there is none, bring one of an older format to the present one, and make an empty one of
        another model one of this model."""
        cursor.execute("SHOW server_encoding")
        if (encoding := cursor.fetchall()[0][0]) not in ("UTF8", b"UTF8"):
            raise StoreError(
                f"The database of the vector store {self._uri} is in {encoding}; expected UTF8. Make another one: "
                "createdb --encoding UTF8 --template template0"
            )
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('reid_stores'))")  # one at a time makes tables
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(_CATALOGUE)
        entry = self.entry(cursor, lock="FOR UPDATE")
        if entry is None:
            self.point_to(cursor, self.new_table(cursor, model[1]), model)
            return
        if not any_model:
            self._upgrade(cursor, entry)
            cursor.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(entry.table)))
            if entry.model != model and not cursor.fetchall():
                self.point_to(cursor, self.new_table(cursor, model[1]), model)

    def new_table(self, cursor: Cursor, dim: int) -> str:
        """An empty one, which no store is yet."""
        table = f"reid_{uuid.uuid4().hex[:12]}"
        statements = sql.SQL(_TABLE).format(table=sql.Identifier(table), dim=sql.Literal(dim))
        cursor.execute(statements)
        return table

    def point_to(self, cursor: Cursor, table: str, model: tuple[str, int]) -> None:
        """From the transaction's end on the store is this table."""
        cursor.execute(
            'INSERT INTO reid_stores (name, "table", format, fingerprint, dim) VALUES (%s, %s, %s, %s, %s) '
            'ON CONFLICT (name) DO UPDATE SET ("table", format, fingerprint, dim) = '
            '(EXCLUDED."table", EXCLUDED.format, EXCLUDED.fingerprint, EXCLUDED.dim)',
            (self._name, table, FORMAT, *model),
        )

    def settled(self, cursor: Cursor, model: tuple[str, int], *, any_model: bool, lock: str = "") -> Entry:
        """The entry, which is still of our model. StoreError: it is gone, or of another format."""
        entry = self.entry(cursor, lock=lock)
        if entry is None:
            raise StoreError(f"The vector store {self._name} at {self._uri} was dropped; open it again.")
        self.check_format(entry)
        settle_model(self._uri, entry.model, model, any_model=any_model)
        return entry

    def check_format(self, entry: Entry) -> None:
        """StoreError: another release of this program has made it."""
        store = f"The vector store {self._name} at {self._uri} has the format {entry.format}, and this program {FORMAT}"
        if entry.format > FORMAT:
            raise StoreError(
                f"{store}: use the newer release that made it, or embed the gallery again: "
                "reid gallery rebuild gallery=<folder> bundle=<folder>"
            )
        if entry.format < FORMAT:
            raise StoreError(f"{store}. Bring it up to date: reid gallery sync gallery=<folder> bundle=<folder>")

    def remove_left_over(self, cursor: Cursor) -> None:
        """Drop the tables that no store is any more, but for those that somebody still reads."""
        cursor.execute(_LEFT_OVER)
        tables = [table for (table,) in cursor.fetchall()]
        cursor.execute("SET LOCAL lock_timeout = '100ms'")
        for table in tables:
            with (
                suppress(psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege),
                cursor.connection.transaction(),
            ):
                cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))

    def drop(self, cursor: Cursor) -> None:
        """The store is gone; `remove_left_over` removes its table."""
        cursor.execute("DELETE FROM reid_stores WHERE name = %s", (self._name,))

    def _upgrade(self, cursor: Cursor, entry: Entry) -> None:
        for old in range(entry.format, FORMAT):
            cursor.execute(sql.SQL(UPGRADES[old]).format(table=sql.Identifier(entry.table)))
        if entry.format < FORMAT:
            cursor.execute("UPDATE reid_stores SET format = %s WHERE name = %s", (FORMAT, self._name))
