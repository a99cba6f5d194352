"""Supervised contrastive loss (SupCon): picks the anchor's own pictures out of all others by softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss, cosines, masked_logsumexp, mean_where, pair_masks
from reid_lightning.losses.precision import full_precision


@full_precision
def supcon_loss(embeddings: Tensor, labels: Tensor, *, temperature: float, memory: Memory | None = None) -> Tensor:
    """-1/|P| sum_{p in P} log( exp(s_p / T) / sum_{a in A} exp(s_a / T) ), mean over the anchors.

    s are an anchor's cosines; A are all other pictures, P those of its identity, T is `temperature`.
    embeddings: (batch, dim), any scale; labels: (batch,); `memory` adds candidates. Anchors without a positive do not
    count; without any the loss is 0, still tied to `embeddings`. Computed in float32.
    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    logits = cosines(embeddings, memory) / temperature
    positive, negative = pair_masks(labels, memory)
    log_shares = logits - masked_logsumexp(logits, positive | negative)[:, None]
    numbers = positive.sum(dim=1)
    per_anchor = -torch.where(positive, log_shares, 0.0).sum(dim=1) / numbers.clamp(min=1)
    return mean_where(per_anchor, numbers > 0)


class SupConLoss(PairLoss):
    """`supcon_loss` with its settings."""

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        if temperature <= 0.0:
            raise ReIDError(f"supcon temperature={temperature}: expected a number above 0")
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return supcon_loss(embeddings, labels, temperature=self.temperature, memory=memory)
