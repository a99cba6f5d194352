"""Contrastive loss: pulls pictures of one identity together, pushes others at least a margin apart."""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss, comparable, distances, pair_masks
from reid_lightning.losses.precision import full_precision


@full_precision
def contrastive_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float, normalize: bool = True, memory: Memory | None = None
) -> Tensor:
    """1/(2N) sum( y d^2 + (1 - y) max(0, m - d)^2 ) over all N pairs of the batch.

    N counts every pair, positive or negative, inside the margin or not. y is 1 where the two pictures show one
    identity, d is the Euclidean distance, m is `margin`. `normalize` scales the embeddings to length 1 first, so that d
    lies in [0, 2] and `margin` has a meaning without knowing their scale.
    embeddings: (batch, dim); labels: (batch,). Pairs are those of an anchor (each picture of the batch) and a candidate
    (any other picture of it), which is the mean over the B (B - 1) / 2 unordered pairs; `memory` adds candidates. A
    batch of one picture has no pair and gives 0. At d = 0 the gradient of d is taken as 0 (it has no direction), so
    identical pictures give no NaN. Computed in float32.
    Source: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    embeddings, memory = comparable(embeddings, memory, normalize=normalize)
    d = distances(embeddings, memory)
    positive, negative = pair_masks(labels, memory)
    terms = torch.where(positive, d, (margin - d).clamp(min=0.0)).square()
    pairs = positive | negative
    return torch.where(pairs, terms, 0.0).sum() / (2 * pairs.sum().clamp(min=1))


class ContrastiveLoss(PairLoss):
    """`contrastive_loss` with its settings."""

    def __init__(self, *, margin: float, normalize: bool = True) -> None:
        super().__init__()
        if margin <= 0.0:
            raise ReIDError(f"contrastive margin={margin}: expected a number above 0 (at most 2 with normalize=true)")
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return contrastive_loss(embeddings, labels, margin=self.margin, normalize=self.normalize, memory=memory)
