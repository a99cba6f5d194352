"""Where the vectors are kept: one interface, an embedded engine and a server's, chosen by URI.

The vectors are derived from the gallery on disk, so a store may be dropped and rebuilt at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.untrusted.names import LONGEST_NAME
from reid_lightning.user_messages import is_utf8

INDEX_FOLDER = ".index"
"""The vectors of a gallery, unless they are kept elsewhere."""

FIELDS = [field.name for field in fields(VectorRecord)]
"""Of a record, as engines keep them: texts, and at the end the time."""

T = TypeVar("T")

EXACT_UP_TO = 50_000
"""Vectors up to which a server compares with all of them, and all files of a folder are checked at every opening."""
MEMORY = 1536
"""MiB for the copy of a folder's vectors: 1,250,000 of 512 numbers, 360,000 of 2,048."""
EVERYTHING = Filter()
SCAN_ROWS = 4096
"""Records in one piece of a scan."""

_READS = 10  # of a store that is made again while it is read
_LENGTH_TOLERANCE = 0.01


class VectorStore(Protocol):
    """Vectors of one model with their records; what is written is durable, and visible to searches of other processes.

    Several processes may read and write at once. Everything raises `ReIDError` when the store is down, damaged or of
    another model.
    """

    dim: int
    fingerprint: str
    """Of the bundle that made the vectors."""

    def upsert(self, records: Sequence[VectorRecord], vectors: np.ndarray) -> None:
        """Add records, or replace those of the same ids; vectors (N, dim) of length 1. All of them or none."""

    def delete(self, ids: Sequence[str]) -> None:
        """Remove records by id; unknown ids are no error."""

    def replace(self, batches: Iterable[tuple[Sequence[VectorRecord], np.ndarray]]) -> None:
        """Hold nothing but these from now on. Searches see the old ones until all are there; killed, the old ones
        stay."""

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter = EVERYTHING) -> list[list[Hit]]:
        """The `top_k` most similar records of each query (Q, dim) of length 1: best first, equal ones by id."""

    def count(self, where: Filter = EVERYTHING) -> int:
        """Number of records."""

    def records(self, where: Filter = EVERYTHING) -> Iterator[list[VectorRecord]]:
        """All records, in pieces and no particular order."""

    def scan(self, where: Filter = EVERYTHING) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        """The same with their vectors, (N, dim) float32."""

    def require_complete(self) -> None:
        """Raises `ReIDError` if something that had been written is known to be missing, as `search` and `count` do: the
        store is older than it was."""

    def mark_complete(self) -> None:
        """Nothing is missing any more: the store was compared with the disk."""

    def problems(self) -> list[str]:
        """What is damaged or missing, a line each; everything is read."""

    def optimize(self) -> None:
        """Tidy up after many small writes, and build or refresh the index of a large store."""

    def purge(self) -> None:
        """Remove what was deleted from the disk, too, which `delete` alone does not. A search that another process is
        in the middle of may fail."""

    def drop(self) -> None:
        """Remove the store with all that it holds."""

    def close(self) -> None:
        """Let go of files and connections."""


class StoreError(ReIDError):
    """A store does not do what was asked of it. The gallery's files have nothing to do with it."""


class DamagedStoreError(StoreError):
    """What it holds cannot be read; `rebuild` makes it again."""


class ReplacedStoreError(StoreError):
    """Another process has made it again while it was being read."""


class NoVectorsError(ReIDError):
    """There is no such store, and nobody asked for one to be made."""


def outdated(uri: str, note: Path) -> StoreError:
    """With what to do about it."""
    return StoreError(
        f"The vector store {uri} is older than it was, or the note beside it, {note.name}, is damaged: vectors that "
        "were written may be missing. Nothing else is; embed what is missing: "
        "reid gallery sync gallery=<folder> bundle=<folder>"
    )


def no_vectors(uri: str, name: str) -> NoVectorsError:
    """With what to do about it."""
    return NoVectorsError(
        f"There are no vectors at {uri} (table {name}); register vehicles, or if the gallery has pictures: "
        "reid gallery sync gallery=<folder> bundle=<folder>"
    )


def settle_model(
    uri: str, stored: tuple[str, int], asked: tuple[str, int] | None, *, any_model: bool
) -> tuple[str, int]:
    """Fingerprint and size that a store works with; raises `ReIDError` naming both models where they differ."""
    if asked is None:
        return stored
    if stored != asked and not any_model:
        raise ReIDError(
            f"The vector store {uri} holds vectors of the model {stored[0]} ({stored[1]} numbers each), and this model "
            f"is {asked[0]} ({asked[1]} numbers): they cannot be compared. Use the bundle that made them, or embed the "
            "gallery again: reid gallery rebuild gallery=<folder> bundle=<folder>"
        )
    return asked


def check_batch(
    records: Sequence[VectorRecord], vectors: np.ndarray, *, dim: int
) -> tuple[list[VectorRecord], np.ndarray]:
    """Records and vectors (N, dim) float32 fit to be stored; of equal ids the last one stays."""
    vectors = check_vectors(vectors, dim=dim)
    if len(records) != len(vectors):
        raise ReIDError(f"{len(vectors)} vectors came with {len(records)} records; expected one for each.")
    for record in records:
        for text in (record.id, record.sighting, record.vehicle, record.camera, record.type):
            _check_text(text)
        if not record.id or (record.time is not None and not abs(record.time) < 1e300):
            raise ReIDError(
                f"a record has the id {record.id!r} and the time {record.time}; expected an id and seconds."
            )
    rows = {record.id: row for row, record in enumerate(records)}
    if len(rows) == len(records):
        return list(records), vectors
    return [records[row] for row in rows.values()], vectors[list(rows.values())]


def check_vectors(vectors: np.ndarray, *, dim: int) -> np.ndarray:
    """Vectors (N, dim) of length 1 as contiguous float32; anything else raises `ReIDError`."""
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.shape[1] != dim:
        came = vectors.shape if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise ReIDError(f"vectors is {came}; expected an array (N, {dim}).")
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = ~(np.abs(lengths - 1) <= _LENGTH_TOLERANCE)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ReIDError(f"vector {row} has the length {lengths[row]:g}; expected 1: normalise embeddings first.")
    return vectors


def check_search(vectors: np.ndarray, *, dim: int, top_k: int, where: Filter) -> np.ndarray:
    """Queries as `check_vectors` gives them, after a look at the rest."""
    if top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more.")
    check_filter(where)
    return check_vectors(vectors, dim=dim)


def check_filter(where: Filter) -> None:
    """Raises `ReIDError` for one that no engine could be asked."""
    for time in (where.since, where.until):
        if time is not None and time != time:
            raise ReIDError("since or until is NaN; expected seconds since 1970.")
    for names in (where.vehicles, where.cameras, where.types):
        if isinstance(names, str):
            raise ReIDError(f"a filter is the text {names!r}; expected a tuple of names.")
        for name in names or ():
            _check_text(name)


def _check_text(text: str) -> None:
    if not isinstance(text, str) or not is_utf8(text):
        raise ReIDError(f"{text!r} is no valid text; ids, vehicles, cameras and types must be.")
    if (size := len(text.encode())) > LONGEST_NAME:
        raise ReIDError(f"{text[:40]!r}... has {size} bytes; ids and names have at most {LONGEST_NAME}.")


def again(action: Callable[[], T]) -> T:
    """What `action` gives, which is begun again where another process has made the store again meanwhile."""
    for _ in range(_READS - 1):
        with suppress(ReplacedStoreError):
            return action()
    return action()


def read_whole(read: Callable[[], Iterator[T]]) -> list[T]:
    """All pieces of `records` or `scan`."""
    return again(lambda: list(read()))


def best_first(hits: Sequence[Hit], top_k: int) -> list[Hit]:
    """By score, equal ones by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.record.id))[:top_k]
