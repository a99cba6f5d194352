"""Batch-hard triplet loss: each picture's farthest positive against its nearest negative."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.precision import full_precision


@full_precision
def triplet_loss(embeddings: Tensor, labels: Tensor, *, margin: float | None, normalize: bool = True) -> Tensor:
    """Mean over anchors a of max(0, m + max_p d(a, p) - min_n d(a, n)), or of log(1 + exp(max_p d - min_n d)).

    p runs over the other pictures of the anchor's identity, n over all other identities; d is the Euclidean distance
    and m the `margin`; None is the second form (soft margin). `normalize` scales the embeddings to length 1 first.
    embeddings: (batch, dim); labels: (batch,). Anchors without a positive or without a negative do not count; without
    any the loss is 0, still tied to `embeddings`. The gradient of d at 0 is 0. Computed in float32.
    Source: Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017, equation 5.
    """
    if normalize:
        embeddings = functional.normalize(embeddings, dim=1)
    # The matrix product's shortcut for distances loses half of the digits near 0, where positives live.
    distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels[None, :]
    others = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive, negative = same & others, ~same
    hardest_positive = distances.masked_fill(~positive, 0.0).amax(dim=1)
    hardest_negative = distances.masked_fill(~negative, torch.finfo(distances.dtype).max).amin(dim=1)
    counts = positive.any(dim=1) & negative.any(dim=1)
    gap = torch.where(counts, hardest_positive - hardest_negative, 0.0)
    per_anchor = functional.softplus(gap) if margin is None else (gap + margin).clamp(min=0.0)
    return (per_anchor * counts).sum() / counts.sum().clamp(min=1)


class TripletLoss(nn.Module):
    """`triplet_loss` with its settings."""

    def __init__(self, *, margin: float | None, normalize: bool = True) -> None:
        super().__init__()
        if margin is not None and margin < 0.0:
            raise ReIDError(f"triplet margin={margin}: expected a number of at least 0, or null for the soft margin")
        self.margin = margin
        self.normalize = normalize

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return triplet_loss(embeddings, labels, margin=self.margin, normalize=self.normalize)
