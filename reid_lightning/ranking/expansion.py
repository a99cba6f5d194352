"""Query expansion: a query moves towards its best matches in the gallery before it is ranked again.

The matches are taken as they come: the method knows neither identities nor cameras.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import check_embeddings, check_pair
from reid_lightning.ranking.equal_rows import EqualRows
from reid_lightning.ranking.neighbours import SmallestOfRows
from reid_lightning.ranking.precision import product
from reid_lightning.ranking.scores import SMALLEST_NORM

_CHUNK_ELEMENTS = 1 << 22  # similarities held at a time: 16 MiB of float32


@dataclass(frozen=True)
class QueryExpansion:
    """The settings of `average_query_expansion` or `alpha_query_expansion`, to be passed around.

    `alpha` means nothing to the method "average".
    """

    method: Literal["average", "alpha"] = "alpha"
    top_k: int = 10
    alpha: float = 3.0

    def __post_init__(self) -> None:
        if self.method not in ("average", "alpha"):
            raise ReIDError(f"method is {self.method!r}; expected 'average' or 'alpha'.")
        _check(self.top_k, self.alpha)

    def __call__(self, query: Tensor, gallery: Tensor) -> Tensor:
        """The expanded queries (queries, dim), of length 1."""
        if self.method == "average":
            return average_query_expansion(query, gallery, top_k=self.top_k)
        return alpha_query_expansion(query, gallery, top_k=self.top_k, alpha=self.alpha)

    def describe(self) -> str:
        """In words, for everything that prints a result."""
        if self.method == "average":
            return f"average query expansion (top {self.top_k})"
        return f"alpha query expansion (top {self.top_k}, alpha={self.alpha:g})"


def average_query_expansion(query_embeddings: Tensor, gallery_embeddings: Tensor, *, top_k: int = 10) -> Tensor:
    """q <- q + sum of the `top_k` gallery pictures most similar to q, all of length 1, and so is the result.

    Chum et al., "Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval", ICCV
    2007, where matches are verified before; here they are not. Arguments, ties, errors: see `alpha_query_expansion`.
    """
    return alpha_query_expansion(query_embeddings, gallery_embeddings, top_k=top_k, alpha=0.0)


def alpha_query_expansion(
    query_embeddings: Tensor, gallery_embeddings: Tensor, *, top_k: int = 10, alpha: float = 3.0
) -> Tensor:
    """q <- q + sum of cos(q, g)^alpha g over the `top_k` gallery pictures g most similar to q, all of length 1, and so
    is the result. A negative similarity counts as 0.

    Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018.

    Junk is not known here: gallery pictures of the query's vehicle by the query's camera, which an evaluation passes
    over, are often the best matches and take part.

    Args:
        query_embeddings: (queries, dim), any floating type; computed in float32 (float64 stays).
        gallery_embeddings: (gallery, dim), on the same device.
        top_k: gallery pictures per query, or all of a smaller gallery; of equally similar ones the earlier go first.
        alpha: the higher, the more the best matches outweigh the others; 0 is `average_query_expansion`.

    Returns:
        (queries, dim) of length 1, to be ranked by cosine similarity; a zero vector that nothing moved stays zero.

    Raises:
        ReIDError: settings, sizes or widths do not fit, or embeddings are not finite.
    """
    _check(top_k, alpha)
    query, _ = check_embeddings("query_embeddings", query_embeddings)
    gallery, gallery_norms = check_embeddings("gallery_embeddings", gallery_embeddings)
    check_pair(query, gallery)
    dtype = torch.promote_types(query.dtype, gallery.dtype)
    equal = EqualRows.of(query)
    query = functional.normalize(query.to(dtype), eps=SMALLEST_NORM)
    gallery, lengths = gallery.to(dtype).contiguous(), gallery_norms.to(dtype).clamp(min=SMALLEST_NORM)
    equal_gallery, parts = EqualRows.of(gallery), []
    for part in query.split(max(1, _CHUNK_ELEMENTS // len(gallery))):
        distances = equal_gallery.copy_columns(product(part, gallery).div_(-lengths))
        nearest = SmallestOfRows(len(part), min(top_k, len(gallery)), like=distances)
        nearest.offer(distances, row=0, column=0)
        weights = (-nearest.values).clamp_(min=0).pow_(alpha) / lengths[nearest.columns]
        moved = part + functional.embedding_bag(nearest.columns, gallery, per_sample_weights=weights, mode="sum")
        parts.append(functional.normalize(moved, eps=SMALLEST_NORM))
    return equal.copy_rows(torch.cat(parts))


def _check(top_k: int, alpha: float) -> None:
    if top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more gallery pictures.")
    if not 0 <= alpha < float("inf"):
        raise ReIDError(f"alpha is {alpha}; expected a finite number of 0 or more.")
