"""Records, filters and vectors as PostgreSQL takes them: texts and vectors are parameters, never part of a statement.

A vector travels as pgvector's binary `halfvec`: its size and a zero (two bytes each), and the numbers as float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import FIELDS

with extra("postgres"):
    from psycopg import Connection, Cursor, sql
    from psycopg.adapt import Buffer, Dumper, Loader
    from psycopg.pq import Format
    from psycopg.types import TypeInfo

_HEAD = 4
COLUMNS = sql.SQL(", ").join(sql.Identifier(name) for name in FIELDS)
_ALL = [*FIELDS, "vector"]


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: np.ndarray) -> bytes:
        return len(obj).to_bytes(2, "big") + b"\0\0" + obj.astype(">f2").tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> np.ndarray:
        return np.frombuffer(bytes(data), ">f2", offset=_HEAD)


def register_vectors(connection: Connection[Any]) -> None:
    """Let a connection send and receive (dim,) arrays as vectors, if its database has the extension already."""
    known = TypeInfo.fetch(connection, "halfvec")
    if known is not None:
        dumper = type("VectorDumper", (_VectorDumper,), {"oid": known.oid})
        connection.adapters.register_dumper(np.ndarray, dumper)
        connection.adapters.register_loader(known.oid, _VectorLoader)


def write_rows(
    cursor: Cursor[Any], table: sql.Identifier, records: Sequence[VectorRecord], vectors: np.ndarray
) -> None:
    """Add rows, or replace those of the same ids, with vectors (N, dim) brought to length 1.

    In the order of the ids, so that of two who write the same ones one waits for the other.
    """
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET ({}) = ROW({})").format(
        table,
        columns := sql.SQL(", ").join(sql.Identifier(name) for name in _ALL),
        sql.SQL(", ").join(sql.Placeholder() for _ in _ALL),
        columns,
        sql.SQL(", ").join(sql.Identifier("excluded", name) for name in _ALL),
    )
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [(*(getattr(record, name) for name in FIELDS), vectors[row]) for row, record in enumerate(records)]
    rows.sort(key=lambda row: row[0])
    cursor.executemany(statement, rows)


def to_record(row: Sequence[Any]) -> VectorRecord:
    """Of the columns `FIELDS`, which others may follow."""
    return VectorRecord(*row[: len(FIELDS)])


def condition_of(where: Filter) -> tuple[sql.Composable, dict[str, Any]]:
    """A filter as a condition, and its values; an unknown time (NULL) meets no bound."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    values: dict[str, Any] = {}
    for column, names in (("vehicle", where.vehicles), ("camera", where.cameras), ("type", where.types)):
        if names is not None:
            parts.append(sql.SQL("{} = ANY({}::text[])").format(sql.Identifier(column), sql.Placeholder(column)))
            values[column] = list(names)
    for bound, sign, time in (("since", ">=", where.since), ("until", "<", where.until)):
        if time is not None:
            parts.append(sql.SQL("time {} {}::float8").format(sql.SQL(sign), sql.Placeholder(bound)))
            values[bound] = float(time)
    return sql.SQL(" AND ").join(parts), values
