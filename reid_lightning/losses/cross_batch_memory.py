"""Cross-batch memory (XBM): pictures of earlier batches as further candidates for a loss over pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss
from reid_lightning.losses.precision import full_precision


class CrossBatchMemory(nn.Module):
    """A pair loss whose anchors are the batch and whose candidates are the batch and the last pictures before it.

    Embeddings move slowly once the first part of a training is over, so that those of earlier batches are nearly what
    the network would give now: thousands of negatives for the price of one matrix product. They have no gradient.
    Pictures enter in training mode only, without those whose embedding is not finite. A picture seen again while its
    earlier embedding is remembered is its own positive then, as in the paper. Under DDP the batch is that of all ranks,
    so every rank remembers the same. The memory is part of the state: a resumed run goes on with it.

    Args:
        loss: the pair loss, of this package.
        size: pictures in the memory, the current batch among them; (size, embedding_dim) float32 numbers on the device
            and in every checkpoint.
        warm_up: pictures to see before the memory is used; it fills meanwhile. The paper waits for 64,000.
    Source: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, algorithm 1.
    """

    embeddings: Tensor
    labels: Tensor
    seen: Tensor

    def __init__(self, loss: PairLoss, *, size: int, warm_up: int, embedding_dim: int) -> None:
        super().__init__()
        if not isinstance(loss, PairLoss):
            raise ReIDError(
                f"a cross-batch memory cannot hold a {type(loss).__name__}; expected a loss that compares pictures: "
                "CircleLoss, ContrastiveLoss, MultiSimilarityLoss, SupConLoss or TripletLoss of reid_lightning.losses"
            )
        if size < 1 or warm_up < 0:
            raise ReIDError(
                f"cross-batch memory size={size}, warm_up={warm_up}: expected size of 1 and warm_up of 0 up"
            )
        self.loss = loss
        self.size = size
        self.warm_up = warm_up
        self.register_buffer("embeddings", torch.zeros(size, embedding_dim))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings: (batch, embedding_dim); labels: (batch,). ReIDError when the batch is larger than the memory."""
        ready, usable = self.seen >= self.warm_up, self.labels
        if self.training:
            # Written before the loss, because its backward still needs the memory as the loss saw it.
            own = self._store(embeddings.detach(), labels)
            usable = self.labels.index_fill(0, own, -1)
        memory = Memory(self.embeddings.to(embeddings.dtype), torch.where(ready, usable, -1))
        loss: Tensor = self.loss(embeddings, labels, memory)
        return loss

    def _store(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Write the batch over the oldest pictures; its places, (batch,)."""
        if len(labels) > self.size:
            raise ReIDError(
                f"cross-batch memory size={self.size} is less than the {len(labels)} pictures of a batch (of all "
                "ranks); expected several batches, for instance size=8192"
            )
        places = (self.seen + torch.arange(len(labels), device=labels.device)) % self.size
        finite = embeddings.isfinite().all(dim=1)
        self.embeddings[places] = torch.where(finite[:, None], embeddings, 0.0).to(self.embeddings.dtype)
        self.labels[places] = torch.where(finite, labels, -1)
        self.seen += len(labels)
        return places
