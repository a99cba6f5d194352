"""ID loss: smoothing by hand, its classifier, precision."""

from __future__ import annotations

import math

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.losses import IDLoss, id_loss


def test_by_hand() -> None:
    # softmax of (0, log 3) is (1/4, 3/4); with e = 0.2 and C = 2 the targets of class 1 are (0.1, 0.9).
    logits = torch.tensor([[0.0, math.log(3.0)]])
    expected = -(0.1 * math.log(0.25) + 0.9 * math.log(0.75))
    assert id_loss(logits, torch.tensor([1]), label_smoothing=0.2).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_a_slow_loop(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 7), torch.tensor([0, 6, 3, 3, 1])
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(value) for value in row))
        for position, value in enumerate(row):
            target = (1 - smoothing) * (position == label) + smoothing / 7
            total -= target * (value - log_sum)
    assert id_loss(logits, labels, label_smoothing=smoothing).item() == pytest.approx(total / 5, rel=1e-5)


def test_the_classifier_starts_small_and_is_trained() -> None:
    torch.manual_seed(0)
    loss = IDLoss(label_smoothing=0.1, num_identities=500, embedding_dim=64)
    assert [name for name, _ in loss.named_parameters()] == ["classifier.weight"]
    assert loss.classifier.weight.shape == (500, 64)
    assert loss.classifier.weight.std().item() == pytest.approx(0.001, rel=0.05)
    value = loss(torch.randn(4, 64), torch.arange(4))
    value.backward()
    assert value.item() == pytest.approx(math.log(500), abs=0.01)
    assert loss.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    loss = IDLoss(label_smoothing=0.0, num_identities=3, embedding_dim=8)
    embeddings = torch.randn(4, 8).to(dtype).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(embeddings.float(), labels))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ReIDError, match=r"label_smoothing=1\.5"):
        IDLoss(label_smoothing=1.5, num_identities=3, embedding_dim=8)
    with pytest.raises(ReIDError, match="num_identities=0"):
        IDLoss(label_smoothing=0.1, num_identities=0, embedding_dim=8)
