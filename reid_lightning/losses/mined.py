"""Lets a config give a loss of pytorch-metric-learning one of its miners."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class MinedLoss(nn.Module):
    """loss(embeddings, labels, miner(embeddings, labels)), both from pytorch-metric-learning.

    Any loss of that package is a term by itself too. They make an accelerator wait several times a step, because the
    number of pairs decides the shapes; a miner that draws at random draws differently on each rank.
    """

    def __init__(self, loss: nn.Module, *, miner: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.loss = loss
        self.miner = miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.loss(embeddings, labels, self.miner(embeddings, labels))
        return loss
