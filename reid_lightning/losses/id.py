"""ID loss: which of the training identities is this picture? The classifier is dropped after training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.precision import full_precision


@full_precision
def id_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing, mean over the batch.

    -sum_c t_c log softmax(z)_c with t_c = (1 - e) [c = y] + e / C for C identities and e = `label_smoothing`.
    logits: (batch, C); labels: (batch,) integers below C. Computed in float32.
    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016.
    """
    return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


class IDLoss(nn.Module):
    """`id_loss` over a linear classifier without bias that belongs to the loss, (embedding_dim) to (num_identities).

    Its weights start at a standard deviation of 0.001, so that training starts from equal odds for every identity.
    """

    def __init__(self, *, label_smoothing: float, num_identities: int, embedding_dim: int) -> None:
        super().__init__()
        check_classifier(label_smoothing=label_smoothing, num_identities=num_identities)
        self.label_smoothing = label_smoothing
        self.classifier = nn.Linear(embedding_dim, num_identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings: (batch, embedding_dim); labels: (batch,) positions among the training identities."""
        return id_loss(self._logits(embeddings), labels, label_smoothing=self.label_smoothing)

    @full_precision
    def _logits(self, embeddings: Tensor) -> Tensor:
        return functional.linear(embeddings, self.classifier.weight.to(embeddings.dtype))


def check_classifier(*, label_smoothing: float, num_identities: int) -> None:
    """ReIDError for settings that no loss with a classifier can have."""
    if not 0.0 <= label_smoothing < 1.0:
        raise ReIDError(f"label_smoothing={label_smoothing}: expected a number in [0, 1)")
    if num_identities < 1:
        raise ReIDError(f"an ID loss got num_identities={num_identities}: the training split holds no identity")
