"""The checked inputs of a ranking and their similarities, a few queries at a time: memory stays bounded.

Both evaluation and the listing of matches start here, so that they agree to the last tie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import Index, Names, check_embeddings, check_index, check_pair, number_names
from reid_lightning.ranking.precision import full_precision

Metric = Literal["cosine", "euclidean"]

JUNK_NONE = "none"
JUNK_CAMERA = "same identity and same camera"
JUNK_INDEX = "jk_index"

_CHUNK_ELEMENTS = 1 << 24  # similarities held at a time: 64 MiB of float32; smaller ones make the product slower
_SMALLEST_NORM = 1e-12  # below it a vector counts as zero, as in torch.nn.functional.normalize


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


class RankingProblem:
    """Queries, gallery and rules of one ranking; iterating gives `Chunk`s.

    Args are those of `evaluate_retrieval`; raises ReIDError naming the argument that does not fit.
    """

    def __init__(
        self,
        query_embeddings: Tensor,
        gallery_embeddings: Tensor,
        *,
        query_ids: Names,
        gallery_ids: Names,
        query_cameras: Names | None = None,
        gallery_cameras: Names | None = None,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
        metric: Metric = "cosine",
    ) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ReIDError(f"metric is {metric!r}; expected 'cosine' or 'euclidean'.")
        if (query_cameras is None) != (gallery_cameras is None):
            missing = "query_cameras" if query_cameras is None else "gallery_cameras"
            raise ReIDError(f"{missing} is missing; give the cameras of both sides or of neither.")
        self.metric = metric
        query, self.query_norms = check_embeddings("query_embeddings", query_embeddings)
        gallery, self.gallery_norms = check_embeddings("gallery_embeddings", gallery_embeddings)
        check_pair(query, gallery)
        wider = torch.promote_types(query.dtype, gallery.dtype)
        self.query, self.gallery = query.to(wider), gallery.to(wider)
        self._gallery_squares = squared_lengths(self.gallery) if metric == "euclidean" else None
        on_device = {"device": query.device}
        query_numbers, gallery_numbers = number_names("ids", query_ids, gallery_ids, self.sizes, **on_device)
        self._same_identity = _RowLists.of_equal(query_numbers, gallery_numbers)
        self._cameras: tuple[Tensor, Tensor] | None = None
        if query_cameras is not None and gallery_cameras is not None:
            self._cameras = number_names("cameras", query_cameras, gallery_cameras, self.sizes, **on_device)
        self._right = self._same_identity
        if gt_index is not None:
            self._right = _RowLists.of_index(*check_index("gt_index", gt_index, self.sizes, **on_device))
        self._junk: _RowLists | None = None
        if jk_index is not None:
            self._junk = _RowLists.of_index(*check_index("jk_index", jk_index, self.sizes, **on_device))

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of queries and of gallery pictures."""
        return len(self.query), len(self.gallery)

    @property
    def junk_rule(self) -> str:
        """In words, for everything that prints a result."""
        if self._junk is not None:
            return JUNK_INDEX
        return JUNK_NONE if self._cameras is None else JUNK_CAMERA

    def __iter__(self) -> Iterator[Chunk]:
        queries, gallery = self.sizes
        size = min(queries, max(1, _CHUNK_ELEMENTS // gallery))
        buffer = self.query.new_empty(size, gallery)
        for start in range(0, queries, size):
            end = min(start + size, queries)
            scores = self._scores(start, end, out=buffer[: end - start])
            junk = self._junk_pairs(start, end)
            if junk is not None:
                scores[junk] = -torch.inf
            query, row = self._right.pairs(start, end)
            kept = ~scores[query, row].isneginf()
            yield Chunk(start, scores, query[kept], row[kept])

    def _scores(self, start: int, end: int, *, out: Tensor) -> Tensor:
        """Cosine similarities, or -d^2 up to a constant of the query, which ranks as -d does. The gallery is not copied
        to be normalised: its norms divide the products."""
        query = self.query[start:end]
        if self.metric == "cosine":
            query = query / self.query_norms[start:end, None].clamp(min=_SMALLEST_NORM)
        with full_precision(query.device):
            torch.mm(query, self.gallery.T, out=out)
        if self._gallery_squares is None:
            return out.div_(self.gallery_norms.clamp(min=_SMALLEST_NORM))
        return out.mul_(2).sub_(self._gallery_squares)

    def _junk_pairs(self, start: int, end: int) -> tuple[Tensor, Tensor] | None:
        if self._junk is not None:
            return self._junk.pairs(start, end)
        if self._cameras is None:
            return None
        query, row = self._same_identity.pairs(start, end)
        same_camera = self._cameras[0][start:end][query] == self._cameras[1][row]
        return query[same_camera], row[same_camera]


def squared_lengths(embeddings: Tensor) -> Tensor:
    """|x|^2 of every row, (pictures,), without a copy of all rows; squaring the root would lose exact ties."""
    return torch.cat([part.square().sum(dim=1) for part in embeddings.split(1024)])


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
