"""Circle loss: weighs each similarity by how far it is from its optimum."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss, cosines, masked_logsumexp, mean_where, pair_masks
from reid_lightning.losses.precision import full_precision


@full_precision
def circle_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float, gamma: float, memory: Memory | None = None
) -> Tensor:
    """log[1 + sum_j exp(gamma a_n (s_n - D_n)) sum_k exp(-gamma a_p (s_p - D_p))], mean over the anchors.

    Every picture is an anchor once; s_p are its cosine similarities to the other pictures of its identity, s_n those to
    all other identities. With m = `margin`: a_p = max(0, 1 + m - s_p), a_n = max(0, s_n + m) (both without gradient),
    D_p = 1 - m, D_n = m. `gamma` scales similarities.
    embeddings: (batch, dim), any scale; labels: (batch,); `memory` adds candidates. Anchors without a positive or
    without a negative do not count. Without any the loss is 0, still tied to `embeddings` (its gradient is 0). Sums of
    exponentials are taken in the logarithm and in float32, so no similarity overflows.
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 4 to 8.
    """
    similarity = cosines(embeddings, memory)
    positive, negative = pair_masks(labels, memory)
    fixed = similarity.detach()
    logits_p = -gamma * (1.0 + margin - fixed).clamp(min=0.0) * (similarity - (1.0 - margin))
    logits_n = gamma * (fixed + margin).clamp(min=0.0) * (similarity - margin)
    exponent = masked_logsumexp(logits_p, positive) + masked_logsumexp(logits_n, negative)
    return mean_where(functional.softplus(exponent), positive.any(dim=1) & negative.any(dim=1))


class CircleLoss(PairLoss):
    """`circle_loss` with its settings."""

    def __init__(self, *, margin: float, gamma: float) -> None:
        super().__init__()
        if not 0.0 <= margin <= 1.0 or gamma <= 0.0:
            raise ReIDError(f"circle margin={margin}, gamma={gamma}: expected margin in [0, 1] and gamma above 0")
        self.margin = margin
        self.gamma = gamma

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return circle_loss(embeddings, labels, margin=self.margin, gamma=self.gamma, memory=memory)
