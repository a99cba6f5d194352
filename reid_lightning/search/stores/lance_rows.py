"""Records, vectors and filters as LanceDB takes them: a table's schema, its rows, conditions in SQL."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import FIELDS, StoreError
from reid_lightning.search.stores.lance_errors import damaged

with extra("search"):
    import pyarrow as pa


KEEPING_ROWS = {"new_table_enable_stable_row_ids": "true"}
"""What a table is made with."""

_FORMAT = "1"
_LIMIT = 1e300
_LENGTH_TOLERANCE = 0.02  # of what `check_vectors` lets in, and float16


def schema_of(fingerprint: str, dim: int) -> pa.Schema:
    """Of the table of a model, whose fingerprint stays with it."""
    texts = [pa.field(name, pa.string(), nullable=False) for name in FIELDS[:-1]]
    fields = [*texts, pa.field("time", pa.float64()), pa.field("vector", pa.list_(pa.float16(), dim), nullable=False)]
    return pa.schema(fields, metadata={"format": _FORMAT, "fingerprint": fingerprint})


def to_table(records: Sequence[VectorRecord], vectors: np.ndarray, schema: pa.Schema) -> pa.Table:
    """Records and vectors (N, dim) as rows of a table; numbers become float16."""
    columns = [pa.array([getattr(record, name) for record in records], pa.string()) for name in FIELDS[:-1]]
    columns.append(pa.array([record.time for record in records], pa.float64()))
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), vectors.shape[1]))
    return pa.table(columns, schema=schema)


def of_new_lineage(schema: pa.Schema) -> pa.Schema:
    """Of a table that is not a later version of another one, to be made with `KEEPING_ROWS`."""
    return schema.with_metadata({**(schema.metadata or {}), "lineage": uuid.uuid4().hex, "rows": "kept"})


def keeps_rows(schema: pa.Schema) -> bool:
    """Whether the numbers of rows are kept when files are joined, so that a later version tells what has changed. Not
    in tables of earlier releases, and not in those that were overwritten in their place."""
    return (schema.metadata or {}).get(b"rows") == b"kept"


def lineage_of(schema: pa.Schema) -> str:
    """What `of_new_lineage` gave; nothing in tables of earlier releases."""
    return str((schema.metadata or {}).get(b"lineage", b"").decode(errors="replace"))


def is_ours(schema: pa.Schema) -> bool:
    """Whether this program has made the table, as far as its schema says, which may be damaged."""
    return b"fingerprint" in (schema.metadata or {}) or set(FIELDS) <= set(schema.names)


def foreign() -> StoreError:
    """The error for a table that is not ours."""
    return StoreError("The table in the vector store was not made by this program; give another name or URI.")


def model_of(schema: pa.Schema) -> tuple[str, int]:
    """Fingerprint and size of the vectors."""
    metadata = schema.metadata or {}
    if not is_ours(schema):
        raise foreign()
    if metadata.get(b"format", b"") != _FORMAT.encode():
        raise StoreError(
            f"The vectors are in format {metadata.get(b'format', b'').decode(errors='replace')!r}, and this release "
            f"reads {_FORMAT!r}: use the one that made them, or make them again with `rebuild`."
        )
    if set(schema.names) != {*FIELDS, "vector"} or not pa.types.is_fixed_size_list(schema.field("vector").type):
        raise damaged(f"The vectors' table has the columns {', '.join(map(repr, schema.names))}.")
    return metadata[b"fingerprint"].decode(errors="replace"), schema.field("vector").type.list_size


def have_length_1(vectors: np.ndarray) -> bool:
    """Whether all of (N, dim) float16 are of the length that they were stored with."""
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    return bool((np.abs(lengths - 1) <= _LENGTH_TOLERANCE).all())


def vectors_of(table: pa.Table) -> np.ndarray:
    """The vectors (N, dim) float16 of a table."""
    dim = table.schema.field("vector").type.list_size
    if not len(table):
        return np.empty((0, dim), np.float16)
    numbers: np.ndarray = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, dim)


def clause_of(where: Filter) -> str | None:
    """A filter in SQL; None: everything."""
    parts = [
        one_of(column, names)
        for column, names in (("vehicle", where.vehicles), ("camera", where.cameras), ("type", where.types))
        if names is not None
    ]
    if where.since is not None:
        parts.append(f"`time` >= {_number(where.since)}")
    if where.until is not None:
        parts.append(f"`time` < {_number(where.until)}")
    return " AND ".join(parts) or None


def one_of(column: str, names: Sequence[str]) -> str:
    """In SQL a quote inside a text is doubled, and nothing else means anything."""
    if not names:
        return "false"
    quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    return f"`{column}` IN ({quoted})"


def _number(value: float) -> str:
    return repr(min(max(float(value), -_LIMIT), _LIMIT))
