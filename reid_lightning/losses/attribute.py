"""Attribute loss: which colour, type ... is this vehicle? Its classifier is dropped after training."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from reid_lightning.losses.id import IDLoss
from reid_lightning.losses.precision import full_precision


@full_precision
def attribute_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """`id_loss`, the mean over the pictures whose label is known; 0 where none is.

    logits: (batch, C); labels: (batch,) integers below C, -1 where unknown. Computed in float32.
    """
    known = labels >= 0
    each = functional.cross_entropy(logits, labels.clamp(min=0), label_smoothing=label_smoothing, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


class AttributeLoss(IDLoss):
    """`attribute_loss` over a classifier as that of `IDLoss`, (embedding_dim) to (num_classes)."""

    leaves_out_unknown = True

    def __init__(self, *, label_smoothing: float, num_classes: int, embedding_dim: int) -> None:
        super().__init__(label_smoothing=label_smoothing, num_identities=num_classes, embedding_dim=embedding_dim)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings: (batch, embedding_dim); labels: (batch,) positions among the attribute's values, or -1."""
        return attribute_loss(self._logits(embeddings), labels, label_smoothing=self.label_smoothing)
