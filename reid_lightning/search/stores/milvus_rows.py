"""Records and filters as Milvus takes them. Texts are percent-encoded, so that none of them means anything to it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import FIELDS

_UNKNOWN_TIME = -1e300


def to_row(record: VectorRecord) -> dict[str, Any]:
    """A record as the server takes it, without its vector."""
    texts = {name: quote(getattr(record, name), safe="") for name in FIELDS[:-1]}
    return {**texts, "time": _UNKNOWN_TIME if record.time is None else float(record.time)}


def to_record(row: dict[str, Any]) -> VectorRecord:
    """And back."""
    texts = {name: unquote(row[name]) for name in FIELDS[:-1]}
    return VectorRecord(**texts, time=None if row["time"] <= _UNKNOWN_TIME else row["time"])


def expression_of(where: Filter) -> str:
    """A filter as a condition; empty: everything."""
    parts = [
        f"{column} in {json.dumps([quote(name, safe='') for name in names])}"
        for column, names in (("vehicle", where.vehicles), ("camera", where.cameras), ("type", where.types))
        if names is not None
    ]
    if where.since is not None or where.until is not None:
        since = _UNKNOWN_TIME / 10 if where.since is None else max(where.since, _UNKNOWN_TIME / 10)
        parts.append(f"time >= {float(since)!r}")
    if where.until is not None:
        parts.append(f"time < {min(max(float(where.until), _UNKNOWN_TIME), -_UNKNOWN_TIME)!r}")
    return " and ".join(parts)


def lets_nothing_through(where: Filter) -> bool:
    """Whether it asks for one of no names, for which there is no condition."""
    return any(names == () for names in (where.vehicles, where.cameras, where.types))
