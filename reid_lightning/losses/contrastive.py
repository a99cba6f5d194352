"""Contrastive loss: pulls pictures of one identity together, pushes others at least a margin apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.precision import full_precision


@full_precision
def contrastive_loss(embeddings: Tensor, labels: Tensor, *, margin: float, normalize: bool = True) -> Tensor:
    """1/(2N) sum( y d^2 + (1 - y) max(0, m - d)^2 ) over all N unordered pairs i < j of the batch.

    N = B (B - 1) / 2 counts every pair, positive or negative, inside the margin or not. y is 1 where the two pictures
    show one identity, d is the Euclidean distance, m is `margin`. `normalize` scales the embeddings to length 1 first,
    so that d lies in [0, 2] and `margin` has a meaning without knowing their scale.
    embeddings: (batch, dim); labels: (batch,). A batch of one picture has no pair and gives 0. At d = 0 the gradient of
    d is taken as 0 (it has no direction), so identical pictures give no NaN. Computed in float32.
    Source: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    if len(embeddings) < 2:
        return embeddings.sum() * 0.0
    if normalize:
        embeddings = functional.normalize(embeddings, dim=1)
    distances = torch.pdist(embeddings)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    same = labels[first] == labels[second]
    terms = torch.where(same, distances.square(), (margin - distances).clamp(min=0.0).square())
    return terms.mean() / 2.0


class ContrastiveLoss(nn.Module):
    """`contrastive_loss` with its settings."""

    def __init__(self, *, margin: float, normalize: bool = True) -> None:
        super().__init__()
        if margin <= 0.0:
            raise ReIDError(f"contrastive margin={margin}: expected a number above 0 (at most 2 with normalize=true)")
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return contrastive_loss(embeddings, labels, margin=self.margin, normalize=self.normalize)
