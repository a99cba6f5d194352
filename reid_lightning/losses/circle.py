"""Circle loss: weighs each similarity by how far it is from its optimum; pytorch-metric-learning computes it."""

from __future__ import annotations

from pytorch_metric_learning import losses
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses.precision import full_precision


@full_precision
def circle_loss(embeddings: Tensor, labels: Tensor, *, margin: float, gamma: float) -> Tensor:
    """log[1 + sum_j exp(gamma a_n (s_n - D_n)) sum_k exp(-gamma a_p (s_p - D_p))], mean over the anchors.

    Every picture is an anchor once; s_p are its cosine similarities to the other pictures of its identity, s_n those to
    all other identities. With m = `margin`: a_p = max(0, 1 + m - s_p), a_n = max(0, s_n + m) (both without gradient),
    D_p = 1 - m, D_n = m. `gamma` scales similarities.
    embeddings: (batch, dim), any scale; labels: (batch,). Anchors without a positive or without a negative do not
    count, nor do those whose loss is 0 in float32. Without any the loss is 0, still tied to `embeddings` (its gradient
    is 0). Sums of exponentials are taken in the logarithm and in float32, so no similarity overflows.
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 4 to 8.
    """
    return losses.CircleLoss(m=margin, gamma=gamma)(embeddings, labels)


class CircleLoss(nn.Module):
    """`circle_loss` with its settings."""

    def __init__(self, *, margin: float, gamma: float) -> None:
        super().__init__()
        if not 0.0 <= margin <= 1.0 or gamma <= 0.0:
            raise ReIDError(f"circle margin={margin}, gamma={gamma}: expected margin in [0, 1] and gamma above 0")
        self.margin = margin
        self.gamma = gamma

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return circle_loss(embeddings, labels, margin=self.margin, gamma=self.gamma)
