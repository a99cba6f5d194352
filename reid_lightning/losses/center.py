"""Centre loss: keeps pictures near the running mean of their identity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses.precision import full_precision


@full_precision
def center_loss(embeddings: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
    """1/(2B) sum_i |x_i - c_{y_i}|^2 over the B pictures of the batch.

    embeddings: (batch, dim), not normalised; centers: (num_identities, dim); labels: (batch,). Computed in float32.
    Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, equation 2,
    there without 1/B.
    """
    return (embeddings - centers[labels]).square().sum(dim=1).mean() / 2.0


@full_precision
def moved_centers(embeddings: Tensor, centers: Tensor, labels: Tensor, *, rate: float) -> Tensor:
    """Where each picture's centre goes: c + rate sum_i (x_i - c) / (1 + n) over the batch's n pictures of the identity.

    Shapes as in `center_loss`; (batch, dim). Pictures whose embedding is not finite do not count.
    Source: Wen et al. 2016, equation 4.
    """
    finite = embeddings.isfinite().all(dim=1)
    own = centers[labels]
    offsets = torch.where(finite[:, None], embeddings - own, 0.0)
    same = ((labels[:, None] == labels) & finite).to(offsets.dtype)
    return own + rate * (same @ offsets) / (1.0 + same.sum(dim=1, keepdim=True))


class CenterLoss(nn.Module):
    """`center_loss` with centres that follow the embeddings, from 0.

    The centres are buffers moved by the paper's own rule after every training batch, and not parameters: under the one
    optimiser of a run their gradient would carry the weight of the term (0.0005 in Bag of Tricks), so that SGD would
    leave them where they started, and weight decay would pull them to 0. So `rate` means the same with any optimiser.
    Under DDP the loss sees the pictures of all ranks, so the centres move alike on each.

    Args:
        rate: share of the way a centre with many pictures in the batch moves, in (0, 1]; 0.5 in the paper.
    """

    centers: Tensor

    def __init__(self, *, rate: float, num_identities: int, embedding_dim: int) -> None:
        super().__init__()
        if not 0.0 < rate <= 1.0:
            raise ReIDError(f"center rate={rate}: expected a number in (0, 1]")
        self.rate = rate
        self.register_buffer("centers", torch.zeros(num_identities, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings: (batch, embedding_dim); labels: (batch,) positions among the training identities."""
        loss = center_loss(embeddings, self.centers, labels)
        if self.training:
            moved = moved_centers(embeddings.detach(), self.centers, labels, rate=self.rate)
            # Pictures of one identity write one and the same row, so the order of writing does not matter.
            self.centers[labels] = moved.to(self.centers.dtype)
        return loss
