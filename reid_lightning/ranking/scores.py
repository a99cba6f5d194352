"""Where the similarities of a ranking come from: embeddings, compared a few queries at a time, or a distance matrix."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import check_directions, check_embeddings, check_pair
from reid_lightning.ranking.equal_rows import EqualRows, FixedBlocks
from reid_lightning.ranking.precision import product, square_root_

Metric = Literal["cosine", "euclidean"]

SMALLEST_NORM = 1e-12  # below it a vector counts as zero, as in torch.nn.functional.normalize

_BLOCK_QUERIES = 256  # queries whose scores are computed together; fewer make the product slower
_BLOCK_ELEMENTS = 1 << 27  # scores computed together at most: 512 MiB of float32


class Scores(Protocol):
    """Similarities of queries and gallery; higher is more similar."""

    sizes: tuple[int, int]
    """Numbers of queries and of gallery items."""
    metric: str
    """In words, for everything that prints a result."""
    similarity: bool
    """Whether `comparable` gives cosine similarities; else distances with a minus sign."""
    device: torch.device
    dtype: torch.dtype

    def block(self, start: int, end: int, *, out: Tensor) -> Tensor:
        """Scores (end - start, gallery) of some queries, written into `out`. They order a query's gallery; scores of
        different queries need not be comparable."""

    def comparable(self, start: int, scores: Tensor) -> Tensor:
        """`scores` (queries from `start` on, any number) as numbers that mean the same for every query: cosine
        similarities, or distances with a minus sign."""


class EmbeddingScores:
    """Scores of embeddings: cosine similarity, or Euclidean distance.

    Gallery embeddings that are equal, number for number, have equal scores; equal queries have equal rows of scores;
    and a query's scores are the same to the last bit whichever queries are asked for.

    Args:
        query: (queries, dim), any floating type; computed in float32 (float64 stays). `gallery`: (gallery, dim).
        metric: "cosine" or "euclidean".
        block: how many queries are computed together; None: as many as a product at full speed needs.

    Raises:
        ReIDError: sizes do not fit, numbers are not finite, or a vector is zero under "cosine".
    """

    def __init__(self, query: Tensor, gallery: Tensor, *, metric: Metric = "cosine", block: int | None = None) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ReIDError(f"metric is {metric!r}; expected 'cosine' or 'euclidean'.")
        self.metric: str = metric
        self.similarity = metric == "cosine"
        query, self._query_norms = check_embeddings("query_embeddings", query)
        gallery, self._gallery_norms = check_embeddings("gallery_embeddings", gallery)
        check_pair(query, gallery)
        if self.similarity:
            check_directions("query_embeddings", self._query_norms, smallest=SMALLEST_NORM)
            check_directions("gallery_embeddings", self._gallery_norms, smallest=SMALLEST_NORM)
        self.dtype = torch.promote_types(query.dtype, gallery.dtype)
        self.device = query.device
        self.sizes = len(query), len(gallery)
        self._query, self._gallery = query.to(self.dtype).contiguous(), gallery.to(self.dtype).contiguous()
        self._gallery_squares = squared_lengths(self._gallery) if metric == "euclidean" else None
        self._query_squares = squared_lengths(self._query) if metric == "euclidean" else None
        self._equal_gallery = EqualRows.of(self._gallery)
        size = block or block_queries(len(gallery))
        edges = [*range(0, len(query), size), len(query)]
        self._blocks = FixedBlocks(EqualRows.of(self._query), edges, self._compute)

    def block(self, start: int, end: int, *, out: Tensor) -> Tensor:
        """Cosine similarities, or -d^2 up to a constant of the query, which ranks as -d does."""
        return self._blocks.write(start, end, out=out)

    def _compute(self, start: int, end: int, out: Tensor) -> Tensor:
        """The gallery is not copied to be normalised: its norms divide the products."""
        query = self._query[start:end]
        if self.similarity:
            query = query / self._query_norms[start:end, None]
        product(query, self._gallery, out=out)
        if self._gallery_squares is None:
            out.div_(self._gallery_norms)
        else:
            out.mul_(2).sub_(self._gallery_squares)
        return self._equal_gallery.copy_columns(out)

    def comparable(self, start: int, scores: Tensor) -> Tensor:
        """Cosine similarities as they are; Euclidean distances with a minus sign."""
        if self._query_squares is None:
            return scores
        lengths = self._query_squares[self._blocks.equal.first[start : start + len(scores)]]
        return square_root_((lengths[:, None] - scores).clamp_(min=0)).neg_()


class DistanceScores:
    """Scores of a finished matrix of distances: of tracks, of a re-ranking, of anyone's.

    Args:
        distances: (queries, gallery), finite; lower is more similar.
        metric: what they are, in words.
    """

    similarity = False

    def __init__(self, distances: Tensor, *, metric: str) -> None:
        if not isinstance(distances, Tensor) or distances.ndim != 2 or 0 in distances.shape:
            came = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
            raise ReIDError(f"distances is {came}; expected a tensor (queries, gallery) with at least one of each.")
        if distances.dtype == torch.bool or distances.is_complex():
            raise ReIDError(f"distances is of type {distances.dtype}; expected real numbers.")
        distances = distances.detach()
        wide = distances.dtype in (torch.float64, torch.int32, torch.int64)  # float32 would make ties of large integers
        self._distances = distances.double() if wide else distances.float()
        for start, part in enumerate(self._distances.split(1024)):
            if not torch.isfinite(part).all():
                row = 1024 * start + int((~torch.isfinite(part)).any(dim=1).nonzero()[0])
                raise ReIDError(f"distances holds NaN or infinity, first in row {row}.")
        self.metric = metric
        self.sizes = len(distances), distances.shape[1]
        self.device, self.dtype = distances.device, self._distances.dtype

    def block(self, start: int, end: int, *, out: Tensor) -> Tensor:
        """The distances with a minus sign."""
        return torch.neg(self._distances[start:end], out=out)

    def comparable(self, start: int, scores: Tensor) -> Tensor:
        """The distances with a minus sign."""
        return scores


def block_queries(gallery: int) -> int:
    """How many queries are computed together: a whole number of these makes a good chunk."""
    return max(1, min(_BLOCK_QUERIES, _BLOCK_ELEMENTS // gallery))


def squared_lengths(embeddings: Tensor) -> Tensor:
    """|x|^2 of every row, (pictures,), without a copy of all rows; squaring the root would lose exact ties."""
    return torch.cat([part.square().sum(dim=1) for part in embeddings.split(1024)])
