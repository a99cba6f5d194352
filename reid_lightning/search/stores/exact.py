"""Records and vectors in memory, every one compared: a filter leaves fewer to compare, never more work.

All vectors are compared by float16 numbers, as they are stored; those that may be among the best, by the bound of that
error, again in float32, each row by itself, so that equal vectors have equal scores wherever they lie.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch

from reid_lightning.errors import extra
from reid_lightning.ranking.precision import product
from reid_lightning.search.records import Filter, Hit, VectorRecord
from reid_lightning.search.stores.base import FIELDS

with extra("search"):
    import pyarrow as pa


ROW_BYTES = 256
"""Of memory for a record beside its vector, at most, with names of usual length."""

_BLOCK = 1 << 14  # vectors that are kept together; the last block has room for more
_ERROR = 1e-3  # a query and a score rounded to float16 (2^-12 each, relative), and sums in another order
_FEW = 4  # of a block, a filter that lets fewer than 1 in so many through has its vectors copied out
_MANY = 4  # queries for which a block is made float32 once
_TOGETHER = 1 << 24  # scores that are held at once
_AGAIN = 1 << 12  # vectors that are compared again at once
_NAMES = ("vehicle", "camera", "type")


class ExactVectors:
    """Vectors (dim) of length 1 with their records, at one version of a table; `changed` gives the next one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._blocks: list[np.ndarray] = []
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _NAMES}
        self._texts: dict[str, list[str]] = {name: [] for name in ("id", "sighting", *_NAMES)}  # of names: by code
        kinds = {"row": np.uint64, "time": np.float64, "scale": np.float32, **dict.fromkeys(_NAMES, np.int32)}
        self._columns = {name: np.empty(0, kind) for name, kind in kinds.items()}
        self._there = np.empty(0, bool)  # False: removed, or there in a later place

    def __len__(self) -> int:
        return int(np.count_nonzero(self._there))

    @property
    def places(self) -> int:
        """Of records that are there, and of those that are not any more, which still take memory."""
        return len(self._there)

    def appended(self, rows: np.ndarray, records: pa.Table, vectors: np.ndarray) -> ExactVectors:
        """With more records; this one stays as it is. To be asked of the newest one only, whose memory both share.

        Args:
            rows: (N,) uint64 what the table calls them.
            records: their fields as columns.
            vectors: (N, dim) float16.
        """
        new, start = copy.copy(self), self.places
        end = start + len(rows)
        new._there = np.concatenate([self._there, np.ones(len(rows), bool)])
        new._columns = {name: _with_room(column, end) for name, column in self._columns.items()}
        for name in _NAMES:
            encoded = records[name].combine_chunks().dictionary_encode()
            codes = [self._code(name, text) for text in encoded.dictionary.to_pylist()]
            new._columns[name][start:end] = np.array(codes, np.int32)[encoded.indices.to_numpy()]
        new._columns["row"][start:end] = rows
        new._columns["time"][start:end] = records["time"].to_numpy()  # NaN where unknown
        new._columns["scale"][start:end] = 1 / np.linalg.norm(vectors.astype(np.float32), axis=1).clip(1e-12)
        for name in ("id", "sighting"):
            self._texts[name].extend(records[name].to_pylist())
        for place in [start, *range((start // _BLOCK + 1) * _BLOCK, end, _BLOCK)]:
            block, inside = divmod(place, _BLOCK)
            if block == len(self._blocks):
                self._blocks.append(np.empty((_BLOCK, self.dim), np.float16))
            some = vectors[place - start : place - start + _BLOCK - inside]
            self._blocks[block][inside : inside + len(some)] = some
        return new

    def without(self, rows: np.ndarray, *, places: int) -> ExactVectors:
        """Without those of the first `places` records that are among `rows` (N,) uint64."""
        new = copy.copy(self)
        new._there = self._there.copy()
        new._there[:places] &= ~np.isin(self._columns["row"][:places], rows)
        return new

    def only(self, rows: np.ndarray) -> ExactVectors:
        """Without the records that are not among `rows` (N,) uint64."""
        new = copy.copy(self)
        new._there = self._there & np.isin(self._columns["row"][: self.places], rows)
        return new

    def search(self, vectors: np.ndarray, *, top_k: int, where: Filter) -> list[list[Hit]]:
        """As `VectorStore.search`."""
        allowed = self._allowed(where)
        together = max(1, _TOGETHER // max(1, int(np.count_nonzero(allowed))))
        found = []
        for start in range(0, len(vectors), together):
            queries = vectors[start : start + together]
            parts = list(self._compare(queries, allowed))
            places = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
            scores = np.concatenate([part[1] for part in parts], axis=1) if parts else np.empty((len(queries), 0))
            found += [self._best(*pair, places, top_k) for pair in zip(queries, scores, strict=True)]
        return found

    def _allowed(self, where: Filter) -> np.ndarray:
        """(places,) bool: which are there and pass a filter."""
        allowed, end = self._there, len(self._there)
        for name, texts in (("vehicle", where.vehicles), ("camera", where.cameras), ("type", where.types)):
            if texts is not None:
                passes = np.zeros(len(self._codes[name]) + 1, bool)
                passes[[self._codes[name][text] for text in texts if text in self._codes[name]]] = True
                allowed = allowed & passes.take(self._columns[name][:end])
        times = self._columns["time"][:end]  # NaN compares to nothing
        if where.since is not None:
            allowed = allowed & (times >= where.since)
        if where.until is not None:
            allowed = allowed & (times < where.until)
        return allowed

    def _compare(self, queries: np.ndarray, allowed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places (P,), and scores (queries, P) within `_ERROR`, of a block at a time; -inf where not allowed."""
        for start in range(0, len(allowed), _BLOCK):
            passes = allowed[start : start + _BLOCK]
            count, block = np.count_nonzero(passes), self._blocks[start // _BLOCK][: len(passes)]
            if not count:
                continue
            places = np.arange(start, start + len(passes))
            few = _FEW * count < len(passes)
            if few:
                places = places[passes]
                block = block.take(places - start, axis=0)
            numbers = torch.from_numpy(block)
            if len(queries) < _MANY:
                scores = torch.stack([numbers.mv(torch.from_numpy(query).half()) for query in queries]).float().numpy()
            else:
                scores = product(torch.from_numpy(queries), numbers.float()).numpy()
            scores *= self._columns["scale"][places[0] : places[-1] + 1] if not few else self._columns["scale"][places]
            if not few and count < len(passes):
                scores[:, ~passes] = -np.inf
            yield places, scores

    def _best(self, query: np.ndarray, scores: np.ndarray, places: np.ndarray, top_k: int) -> list[Hit]:
        least = np.partition(scores, -top_k)[-top_k] if top_k < len(scores) else -np.inf
        places = places[(scores >= least - 2 * _ERROR) & (scores > -np.inf)]
        exact = np.empty(len(places), np.float32)
        for start in range(0, len(places), _AGAIN):
            some = places[start : start + _AGAIN]
            rows = np.stack([self._blocks[place // _BLOCK][place % _BLOCK] for place in some.tolist()])
            exact[start : start + _AGAIN] = (rows.astype(np.float32) * query).sum(axis=1) * self._columns["scale"][some]
        if len(places) > top_k:
            near = exact >= np.partition(exact, -top_k)[-top_k]
            places, exact = places[near], exact[near]
        ids = self._texts["id"]
        best = sorted(zip((-exact).tolist(), [ids[place] for place in places], places.tolist(), strict=True))[:top_k]
        return [Hit(self._record(place), -score) for score, _, place in best]

    def _record(self, place: int) -> VectorRecord:
        vehicle, camera, kind = (self._texts[name][self._columns[name][place]] for name in _NAMES)
        time = float(self._columns["time"][place])
        texts = self._texts["id"][place], self._texts["sighting"][place], vehicle, camera, kind
        return VectorRecord(*texts, time=None if time != time else time)

    def _code(self, name: str, text: str) -> int:
        code = self._codes[name].setdefault(text, len(self._codes[name]))
        if code == len(self._texts[name]):
            self._texts[name].append(text)
        return code


def _with_room(column: np.ndarray, count: int) -> np.ndarray:
    """The same with at least `count` places; a new one has some in reserve, so that appending is cheap."""
    if count <= len(column):
        return column
    wider = np.empty(max(count, len(column) + len(column) // 4, 1024), column.dtype)
    wider[: len(column)] = column
    return wider


def to_records(table: pa.Table) -> list[VectorRecord]:
    """The rows of a table with those columns."""
    columns = (table[name].to_pylist() for name in FIELDS)
    return [VectorRecord(*values) for values in zip(*columns, strict=True)]
