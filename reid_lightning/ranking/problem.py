"""Queries, gallery and rules of one ranking, and its scores a few queries at a time: memory stays bounded.

Everything that judges or lists a ranking starts here, so that all of it agrees to the last tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import Index, Names, check_index, number_names
from reid_lightning.ranking.scores import Scores, block_queries

IMAGE_TO_IMAGE = "image to image"
IMAGE_TO_TRACK = "image to track"
TRACK_TO_TRACK = "track to track"

JUNK_NONE = "none"
JUNK_CAMERA = "same identity and same camera"
JUNK_INDEX = "jk_index"
JUNK_ITSELF = "the query itself"

_CHUNK_ELEMENTS = 1 << 25  # similarities held at a time: 128 MiB of float32; fewer make the product slower


@dataclass(frozen=True)
class Chunk:
    """Some queries against the whole gallery. The next chunk overwrites `scores`."""

    start: int
    scores: Tensor
    """(queries of this chunk, gallery): higher is more similar, -inf is junk."""
    match_query: Tensor
    """(matches,) ascending: the query, counted from `start`, of each right answer that is not junk."""
    match_row: Tensor
    """(matches,) its gallery row, ascending within a query."""


class RankingRules(TypedDict, total=False):
    """What is junk in a ranking, and what is right where identities do not say it."""

    query_cameras: Names | None
    """(queries,) cameras. With both sides', gallery items of the query's identity and camera are junk: as if they were
    not there (Market-1501's and VeRi-776's rule)."""
    gallery_cameras: Names | None
    """(gallery,) likewise."""
    gt_index: Index | None
    """For each query the 0-based gallery rows of its right answers, instead of equal identities."""
    jk_index: Index | None
    """For each query the 0-based gallery rows that are junk, instead of the camera rule."""
    jk_name: str
    """What those of `jk_index` are, in words."""


class RankingLabels(RankingRules):
    """Who is who in a ranking: keyword arguments of all that evaluates or lists one."""

    query_ids: Names
    """(queries,) identities, strings or integers."""
    gallery_ids: Names
    """(gallery,) likewise."""


class RankingProblem:
    """Scores and rules of one ranking; iterating gives `Chunk`s.

    Args:
        scores: of queries and gallery, whose items are pictures or tracks.
        protocol: "image to image", "image to track" or "track to track".

    The others are `RankingLabels`.

    Raises:
        ReIDError: names the argument that does not fit.
    """

    def __init__(
        self,
        scores: Scores,
        *,
        query_ids: Names,
        gallery_ids: Names,
        query_cameras: Names | None = None,
        gallery_cameras: Names | None = None,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
        jk_name: str = JUNK_INDEX,
        protocol: str = IMAGE_TO_IMAGE,
    ) -> None:
        if (query_cameras is None) != (gallery_cameras is None):
            missing = "query_cameras" if query_cameras is None else "gallery_cameras"
            raise ReIDError(f"{missing} is missing; give the cameras of both sides or of neither.")
        self.scores = scores
        self.protocol = protocol
        self.on_progress: Callable[[int, int], object] = lambda done, total: None
        """Called with the queries that are done and their number, at each chunk of an iteration."""
        on_device = {"device": scores.device}
        self.query_identity, gallery_identity = number_names("ids", query_ids, gallery_ids, self.sizes, **on_device)
        """(queries,) equal numbers for equal identities."""
        self._same_identity = _RowLists.of_equal(self.query_identity, gallery_identity)
        self._cameras: tuple[Tensor, Tensor] | None = None
        if query_cameras is not None and gallery_cameras is not None:
            self._cameras = number_names("cameras", query_cameras, gallery_cameras, self.sizes, **on_device)
        self._right = self._same_identity
        if gt_index is not None:
            self._right = _RowLists.of_index(*check_index("gt_index", gt_index, self.sizes, **on_device))
        self._jk_name = jk_name
        self._junk: _RowLists | None = None
        if jk_index is not None:
            self._junk = _RowLists.of_index(*check_index("jk_index", jk_index, self.sizes, **on_device))

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of queries and of gallery items."""
        return self.scores.sizes

    @property
    def right_answers(self) -> int:
        """Of all queries together, with those that are junk."""
        return int(self._right.lengths.sum())

    @property
    def junk_rule(self) -> str:
        """In words, for everything that prints a result."""
        if self._junk is not None:
            return self._jk_name
        return JUNK_NONE if self._cameras is None else JUNK_CAMERA

    def __iter__(self) -> Iterator[Chunk]:
        queries, gallery = self.sizes
        block = block_queries(gallery)
        size = min(queries, max(1, _CHUNK_ELEMENTS // (gallery * block)) * block)
        buffer = self._buffer(size)
        for start in range(0, queries, size):
            end = min(start + size, queries)
            yield self._chunk(start, end, buffer)
            self.on_progress(end, queries)

    def query(self, number: int) -> Chunk:
        """One query against the whole gallery, with the scores that it has in the chunk of many, to the last bit. Costs
        as much as the few hundred queries that are computed with it."""
        return self._chunk(number, number + 1, self._buffer(1))

    def _buffer(self, queries: int) -> Tensor:
        return torch.empty(queries, self.sizes[1], dtype=self.scores.dtype, device=self.scores.device)

    def _chunk(self, start: int, end: int, buffer: Tensor) -> Chunk:
        scores = self.scores.block(start, end, out=buffer[: end - start])
        junk = self._junk_pairs(start, end)
        if junk is not None:
            scores[junk] = -torch.inf
        query, row = self._right.pairs(start, end)
        kept = ~scores[query, row].isneginf()
        return Chunk(start, scores, query[kept], row[kept])

    def _junk_pairs(self, start: int, end: int) -> tuple[Tensor, Tensor] | None:
        if self._junk is not None:
            return self._junk.pairs(start, end)
        if self._cameras is None:
            return None
        query, row = self._same_identity.pairs(start, end)
        same_camera = self._cameras[0][start:end][query] == self._cameras[1][row]
        return query[same_camera], row[same_camera]


@dataclass(frozen=True)
class _RowLists:
    """For every query a run of `rows`: `lengths[q]` gallery rows, from `starts[q]` on."""

    rows: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def of_equal(cls, query: Tensor, gallery: Tensor) -> _RowLists:
        """The gallery rows that have the query's number, ascending."""
        counts = torch.bincount(gallery, minlength=int(query.max()) + 1)
        starts = counts.cumsum(0) - counts
        return cls(gallery.argsort(stable=True), starts[query], counts[query])

    @classmethod
    def of_index(cls, rows: Tensor, lengths: Tensor) -> _RowLists:
        """Rows of all queries one after the other."""
        return cls(rows, lengths.cumsum(0) - lengths, lengths)

    def pairs(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Every (query, row) of the queries from `start` to `end`, the query counted from `start`: (pairs,) each."""
        lengths = self.lengths[start:end]
        query = torch.repeat_interleave(lengths)
        first = self.starts[start:end] - (lengths.cumsum(0) - lengths)
        return query, self.rows[first[query] + torch.arange(len(query), device=query.device)]
