"""Multi-similarity loss: weighs each pair by its own similarity and by those of the anchor's other pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.pairs import Memory, PairLoss, cosines, masked_logsumexp, pair_masks
from reid_lightning.losses.precision import full_precision


@full_precision
def multi_similarity_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    base: float,
    epsilon: float | None,
    memory: Memory | None = None,
) -> Tensor:
    """1/a log[1 + sum_P exp(-a (s_p - b))] + 1/c log[1 + sum_N exp(c (s_n - b))], mean over the batch's pictures.

    s_p are an anchor's cosines with the other pictures of its identity, s_n those with all other identities; a =
    `alpha`, c = `beta`, b = `base`. P and N hold every such pair where `epsilon` is None; otherwise only the
    informative ones: s_p < max s_n + epsilon and s_n > min s_p - epsilon. An anchor without a positive or without a
    negative then has no pair at all, and adds 0.
    embeddings: (batch, dim), any scale; labels: (batch,); `memory` adds candidates. Computed in float32.
    Source: Wang et al., "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning", CVPR 2019,
    equations 10, 11 and 15.
    """
    similarity = cosines(embeddings, memory)
    positive, negative = pair_masks(labels, memory)
    if epsilon is not None:
        fixed = similarity.detach()
        least_positive = fixed.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
        most_negative = fixed.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
        positive = positive & (fixed < most_negative + epsilon)
        negative = negative & (fixed > least_positive - epsilon)
    pull = functional.softplus(masked_logsumexp(-alpha * (similarity - base), positive)) / alpha
    push = functional.softplus(masked_logsumexp(beta * (similarity - base), negative)) / beta
    return (pull + push).mean()


class MultiSimilarityLoss(PairLoss):
    """`multi_similarity_loss` with its settings."""

    def __init__(self, *, alpha: float, beta: float, base: float, epsilon: float | None) -> None:
        super().__init__()
        if alpha <= 0.0 or beta <= 0.0 or not -1.0 <= base <= 1.0 or (epsilon is not None and epsilon < 0.0):
            raise ReIDError(
                f"multi-similarity alpha={alpha}, beta={beta}, base={base}, epsilon={epsilon}: expected alpha and beta "
                "above 0, base in [-1, 1] and epsilon of at least 0, or null to use every pair"
            )
        self.alpha, self.beta, self.base, self.epsilon = alpha, beta, base, epsilon

    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        return multi_similarity_loss(
            embeddings,
            labels,
            alpha=self.alpha,
            beta=self.beta,
            base=self.base,
            epsilon=self.epsilon,
            memory=memory,
        )
