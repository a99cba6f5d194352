"""The checked inputs of a ranking: embeddings made comparable, names made numbers, and who is junk for whom.

Both evaluation and the listing of matches start here, so that they agree to the last tie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError

Names = Sequence[str] | Sequence[int] | Tensor
Index = Sequence[Sequence[int]]
Metric = Literal["cosine", "euclidean"]

_CHUNK_ELEMENTS = 1 << 22  # similarities held at a time: 16 MiB of float32
JUNK_NONE = "none"
JUNK_CAMERA = "same identity and same camera"
JUNK_INDEX = "jk_index"


@dataclass(frozen=True)
class Chunk:
    """Some queries against the whole gallery; every tensor is (queries of this chunk, gallery)."""

    start: int
    scores: Tensor
    """Higher is more similar."""
    match: Tensor
    """Right answers, junk not among them."""
    junk: Tensor | None
    """Left out of the ranking; None when nothing is."""


class RankingProblem:
    """Queries, gallery and rules of one ranking; iterating gives `Chunk`s, so memory stays bounded.

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
        self.query = _checked("query_embeddings", query_embeddings)
        self.gallery = _checked("gallery_embeddings", gallery_embeddings)
        if self.query.shape[1] != self.gallery.shape[1]:
            raise ReIDError(
                f"query_embeddings have {self.query.shape[1]} numbers each, gallery_embeddings "
                f"{self.gallery.shape[1]}; they must come from one model."
            )
        if metric not in ("cosine", "euclidean"):
            raise ReIDError(f"metric is {metric!r}; expected 'cosine' or 'euclidean'.")
        if (query_cameras is None) != (gallery_cameras is None):
            missing = "query_cameras" if query_cameras is None else "gallery_cameras"
            raise ReIDError(f"{missing} is missing; give the cameras of both sides or of neither.")
        self.metric = metric
        device = self.query.device
        self.query_ids, self.gallery_ids = _numbered("ids", query_ids, gallery_ids, *self.sizes, device=device)
        self.cameras: tuple[Tensor, Tensor] | None = None
        if query_cameras is not None and gallery_cameras is not None:
            self.cameras = _numbered("cameras", query_cameras, gallery_cameras, *self.sizes, device=device)
        self.gt_index = _checked_index("gt_index", gt_index, *self.sizes)
        self.jk_index = _checked_index("jk_index", jk_index, *self.sizes)
        if metric == "cosine":
            self.query = functional.normalize(self.query, dim=1)
            self.gallery = functional.normalize(self.gallery, dim=1)

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of queries and of gallery pictures."""
        return len(self.query), len(self.gallery)

    @property
    def junk_rule(self) -> str:
        """In words, for everything that prints a result."""
        if self.jk_index is not None:
            return JUNK_INDEX
        return JUNK_NONE if self.cameras is None else JUNK_CAMERA

    def __iter__(self) -> Iterator[Chunk]:
        rows = max(1, _CHUNK_ELEMENTS // self.sizes[1])
        for start in range(0, self.sizes[0], rows):
            yield self._chunk(start, min(start + rows, self.sizes[0]))

    def _chunk(self, start: int, end: int) -> Chunk:
        scores = self.query[start:end] @ self.gallery.T
        if self.metric == "euclidean":  # -d^2 up to a constant of the query: the same order
            scores = scores.mul_(2).sub_(self.gallery.square().sum(dim=1))
        same_identity = self.query_ids[start:end, None] == self.gallery_ids
        if self.jk_index is not None:
            junk = _mask(self.jk_index[start:end], like=same_identity)
        elif self.cameras is not None:
            junk = same_identity & (self.cameras[0][start:end, None] == self.cameras[1])
        else:
            junk = None
        match = same_identity if self.gt_index is None else _mask(self.gt_index[start:end], like=same_identity)
        return Chunk(start, scores, match if junk is None else match & ~junk, junk)


def _checked(name: str, embeddings: Tensor) -> Tensor:
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or 0 in embeddings.shape:
        came = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise ReIDError(f"{name} is {came}; expected a tensor (pictures, dim) with at least one picture.")
    if not torch.isfinite(embeddings).all():
        row = int((~torch.isfinite(embeddings).all(dim=1)).nonzero()[0])
        raise ReIDError(f"{name} holds NaN or infinity, first in row {row}; the model that made it is broken.")
    return embeddings.detach() if embeddings.dtype == torch.float64 else embeddings.detach().float()


def _numbered(
    kind: str, query: Names, gallery: Names, queries: int, size: int, *, device: torch.device
) -> tuple[Tensor, Tensor]:
    sides = []
    for name, values, expected in ((f"query_{kind}", query, queries), (f"gallery_{kind}", gallery, size)):
        values = values.tolist() if isinstance(values, Tensor) else list(values)
        if len(values) != expected:
            raise ReIDError(f"{name} has {len(values)} entries for {expected} embeddings.")
        if any(value is None for value in values):
            raise ReIDError(f"{name} holds None; leave the cameras of both sides out where some are unknown.")
        sides.append(values)
    numbers = {value: number for number, value in enumerate(dict.fromkeys(sides[0] + sides[1]))}
    as_tensors = [torch.tensor([numbers[value] for value in values], device=device) for values in sides]
    return as_tensors[0], as_tensors[1]


def _checked_index(name: str, index: Index | None, queries: int, size: int) -> Index | None:
    if index is None:
        return None
    if len(index) != queries:
        raise ReIDError(f"{name} has {len(index)} rows for {queries} queries.")
    wrong = next((entry for row in index for entry in row if not 0 <= entry < size), None)
    if wrong is not None:
        raise ReIDError(f"{name} holds row {wrong}; expected 0 to {size - 1} (0-based rows of the gallery).")
    return index


def _mask(index: Index, *, like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    for row, entries in enumerate(index):
        mask[row, torch.as_tensor(list(entries), dtype=torch.long, device=like.device)] = True
    return mask
