"""Contrastive loss: pulls pictures of one identity together, pushes others at least a margin apart."""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss, comparable, distances, pair_masks
from reid_lightning.losses.precision import full_precision


@full_precision
def contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float,
    normalize: bool = True,
    balanced: bool = False,
    memory: Memory | None = None,
) -> Tensor:
    """1/(2N) sum( y d^2 + (1 - y) max(0, m - d)^2 ) over N pairs of the batch.

    N counts every pair, positive or negative, inside the margin or not; or, `balanced`, all positive pairs and as many
    negative ones, those with the smallest d. (Of a batch of 32 x 2 pictures one pair in 63 is positive, so that without
    it the pull is a sixtieth of the push; the formula does not say which pairs.) y is 1 where the two pictures show one
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
    if balanced:
        negative = _nearest(d.detach(), negative, count=int(positive.sum()))
    pairs = positive | negative
    return torch.where(pairs, terms, 0.0).sum() / (2 * pairs.sum().clamp(min=1))


def _nearest(d: Tensor, negative: Tensor, *, count: int) -> Tensor:
    """The `count` pairs of `negative` with the smallest d, or all if there are fewer."""
    candidates = d.masked_fill(~negative, torch.inf).flatten()
    nearest = torch.zeros_like(negative).flatten()
    nearest[candidates.topk(min(count, candidates.numel()), largest=False).indices] = True
    return nearest.view_as(negative) & negative


class ContrastiveLoss(PairLoss):
    """`contrastive_loss` with its settings."""

    def __init__(self, *, margin: float, normalize: bool = True, balanced: bool = False) -> None:
        super().__init__()
        if margin <= 0.0:
            raise ReIDError(f"contrastive margin={margin}: expected a number above 0 (at most 2 with normalize=true)")
        self.margin = margin
        self.normalize = normalize
        self.balanced = balanced

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return contrastive_loss(
            embeddings,
            labels,
            margin=self.margin,
            normalize=self.normalize,
            balanced=self.balanced,
            memory=memory,
        )
