"""What losses that compare pictures share: who is compared with whom, cosines, distances, masked sums.

Everything keeps fixed shapes and leaves no decision to the host, so that no loss makes an accelerator wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Memory(NamedTuple):
    """Pictures of earlier batches: they are compared with, but have no gradient and are no anchors."""

    embeddings: Tensor
    """(size, dim)"""
    labels: Tensor
    """(size,), -1 in empty places."""


class PairLoss(nn.Module, ABC):
    """A loss without weights that compares every picture of a batch with the others, and with a memory if given one."""

    @abstractmethod
    def forward(self, embeddings: Tensor, labels: Tensor, memory: Memory | None = None) -> Tensor:
        """embeddings: (batch, dim); labels: (batch,) of 0 or more; the loss, a scalar."""


def pair_masks(labels: Tensor, memory: Memory | None) -> tuple[Tensor, Tensor]:
    """Which candidates show the anchor's identity (not the anchor itself) and which another one.

    Anchors are the batch, candidates the batch and then the memory: two (batch, batch + size) bool tensors.
    """
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    if memory is None:
        return positive, ~same
    remembered = labels[:, None] == memory.labels
    other = ~remembered & (memory.labels >= 0)
    return torch.cat((positive, remembered), dim=1), torch.cat((~same, other), dim=1)


def comparable(embeddings: Tensor, memory: Memory | None, *, normalize: bool) -> tuple[Tensor, Memory | None]:
    """Both with their rows scaled to length 1 (a zero vector stays one), or less the mean of the batch.

    The second changes no distance, and keeps the numbers short of which `distances` takes differences.
    """
    adjusted: Callable[[Tensor], Tensor] = _unit_length
    if not normalize:
        adjusted = partial(torch.sub, other=embeddings.detach().mean(dim=0))
    return adjusted(embeddings), None if memory is None else Memory(adjusted(memory.embeddings), memory.labels)


def cosines(embeddings: Tensor, memory: Memory | None) -> Tensor:
    """Cosine of every anchor with every candidate, (batch, batch + size)."""
    embeddings, memory = comparable(embeddings, memory, normalize=True)
    return _against_candidates(lambda anchors, rows: anchors @ rows.T, embeddings, memory)


def distances(embeddings: Tensor, memory: Memory | None) -> Tensor:
    """Euclidean distance of every anchor to every candidate, (batch, batch + size).

    From the matrix product |a|^2 + |b|^2 - 2ab, which needs no space beyond its result, but whose d^2 is only right to
    about 1e-6 of the squared lengths. The gradient of d is 0 where d is 0.
    """
    return _against_candidates(_distances, embeddings, memory)


def candidates(embeddings: Tensor, memory: Memory | None, places: Tensor) -> Tensor:
    """The candidates at `places` (n,), counted through the batch and then the memory: (n, dim)."""
    if memory is None:
        return embeddings[places]
    batch = len(embeddings)
    live = embeddings[places.clamp(max=batch - 1)]
    return torch.where((places < batch)[:, None], live, memory.embeddings[(places - batch).clamp(min=0)])


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """log sum exp over the values of each row where `mask` holds: (rows,). Nothing to sum gives the lowest number."""
    return values.masked_fill(~mask, torch.finfo(values.dtype).min).logsumexp(dim=1)


def mean_where(values: Tensor, counts: Tensor) -> Tensor:
    """Mean of the `values` where `counts` holds; 0, still tied to `values`, where it holds nowhere."""
    return torch.where(counts, values, 0.0).sum() / counts.sum().clamp(min=1)


def _against_candidates(
    measure: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor, memory: Memory | None
) -> Tensor:
    within = measure(embeddings, embeddings)
    return within if memory is None else torch.cat((within, measure(embeddings, memory.embeddings)), dim=1)


def _distances(anchors: Tensor, rows: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(anchors, dim=1), torch.linalg.vector_norm(rows, dim=1)
    squared = lengths[0].square()[:, None] + lengths[1].square() - 2.0 * (anchors @ rows.T)
    apart = squared > 0.0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def _unit_length(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=1)
