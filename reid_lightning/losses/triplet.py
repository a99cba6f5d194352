"""Batch-hard triplet loss: each picture's farthest positive against its nearest negative."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import (
    Memory,
    PairLoss,
    candidates,
    comparable,
    distances,
    mean_where,
    pair_masks,
)
from reid_lightning.losses.precision import full_precision


@full_precision
def triplet_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float | None, normalize: bool = True, memory: Memory | None = None
) -> Tensor:
    """Mean over anchors a of max(0, m + max_p d(a, p) - min_n d(a, n)), or of log(1 + exp(max_p d - min_n d)).

    p runs over the other pictures of the anchor's identity, n over all other identities; d is the Euclidean distance
    and m the `margin`; None is the second form (soft margin). `normalize` scales the embeddings to length 1 first.
    embeddings: (batch, dim); labels: (batch,); `memory` adds candidates. Anchors without a positive or without a
    negative do not count; without any the loss is 0, still tied to `embeddings`. The gradient of d at 0 is 0. Computed
    in float32.
    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017, equation 5.
    """
    embeddings, memory = comparable(embeddings, memory, normalize=normalize)
    positive, negative = pair_masks(labels, memory)
    with torch.no_grad():
        approximate = distances(embeddings, memory)
        farthest = approximate.masked_fill(~positive, -1.0).argmax(dim=1)
        nearest = approximate.masked_fill(~negative, torch.inf).argmin(dim=1)
    # The matrix product that finds the two loses half of the digits near 0, where positives live.
    to_positive = (embeddings - candidates(embeddings, memory, farthest)).norm(dim=1)
    to_negative = (embeddings - candidates(embeddings, memory, nearest)).norm(dim=1)
    gap = to_positive - to_negative
    per_anchor = functional.softplus(gap) if margin is None else (gap + margin).clamp(min=0.0)
    return mean_where(per_anchor, positive.any(dim=1) & negative.any(dim=1))


class TripletLoss(PairLoss):
    """`triplet_loss` with its settings."""

    def __init__(self, *, margin: float | None, normalize: bool = True) -> None:
        super().__init__()
        if margin is not None and margin < 0.0:
            raise ReIDError(f"triplet margin={margin}: expected a number of at least 0, or null for the soft margin")
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return triplet_loss(embeddings, labels, margin=self.margin, normalize=self.normalize, memory=memory)
