"""Supervised contrastive loss: the formula anchor by anchor, against pytorch-metric-learning, extremes."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as metric_learning

from reid_lightning.errors import ReIDError
from reid_lightning.losses import Memory, SupConLoss, supcon_loss


def slow(embeddings: torch.Tensor, labels: torch.Tensor, *, temperature: float, memory: Memory | None = None) -> float:
    rows, names = embeddings.double(), labels.tolist()
    if memory is not None:
        rows, names = torch.cat((rows, memory.embeddings.double())), names + memory.labels.tolist()
    values = []
    for anchor in range(len(embeddings)):
        exponentials = {}
        for other in range(len(rows)):
            if other != anchor and names[other] >= 0:
                s = (rows[anchor] @ rows[other] / (rows[anchor].norm() * rows[other].norm())).item()
                exponentials[other] = math.exp(s / temperature)
        own = [exponentials[other] for other in exponentials if names[other] == names[anchor]]
        if own:
            values.append(-sum(math.log(value / sum(exponentials.values())) for value in own) / len(own))
    return sum(values) / len(values) if values else 0.0


def test_by_hand() -> None:
    # Rows at 0, 60 and 90 degrees; the first two are one vehicle. T = 0.5, so the logits are 2 cos:
    #   anchor 1: 1 against 1 and 0:        log(1 + e^-1) = 0.313262
    #   anchor 2: 1 against 1 and sqrt(3):  log(1 + e^0.732051) = 1.124715; their mean is 0.718989.
    angles = torch.tensor([0.0, math.pi / 3, math.pi / 2])
    embeddings = torch.stack((angles.cos(), angles.sin()), dim=1)
    assert supcon_loss(embeddings, torch.tensor([0, 0, 1]), temperature=0.5).item() == pytest.approx(0.718989, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 2, 3, 4, 5, 5], [0] * 8])
def test_equals_a_slow_loop(labels: list[int], temperature: float) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(8, 6) * 3
    value = supcon_loss(embeddings, torch.tensor(labels), temperature=temperature)
    assert value.item() == pytest.approx(slow(embeddings, torch.tensor(labels), temperature=temperature), rel=1e-5)


def test_a_memory_adds_candidates() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 2])
    memory = Memory(torch.randn(5, 6), torch.tensor([2, -1, 0, 4, -1]))
    value = supcon_loss(embeddings, labels, temperature=0.3, memory=memory)
    assert value.item() == pytest.approx(slow(embeddings, labels, temperature=0.3, memory=memory), rel=1e-5)


def test_equals_pytorch_metric_learning() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(24, 8), torch.arange(24) // 4
    theirs = metric_learning.SupConLoss(temperature=0.1)(embeddings, labels)
    torch.testing.assert_close(supcon_loss(embeddings, labels, temperature=0.1), theirs)


def test_gradient() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 0, 1, 1, 1, 2])
    torch.autograd.gradcheck(lambda rows: supcon_loss(rows, labels, temperature=0.2), embeddings)


def test_a_batch_without_positives_gives_0_and_keeps_the_graph() -> None:
    embeddings = torch.randn(4, 3, requires_grad=True)
    value = supcon_loss(embeddings, torch.arange(4), temperature=0.1)
    value.backward()
    assert value.item() == 0.0 and embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e15])
def test_extreme_similarities_and_scales_give_no_nan(scale: float) -> None:
    embeddings = (torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]) * scale).requires_grad_()
    value = supcon_loss(embeddings, torch.tensor([0, 0, 1, 1]), temperature=0.001)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(embeddings.grad).all()
    if scale == 1.0:  # the one positive is 2 / T below one negative
        assert value.item() == pytest.approx(2000.0, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8).to(dtype).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = SupConLoss(temperature=0.1)(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, supcon_loss(embeddings.float(), labels, temperature=0.1))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ReIDError, match=r"supcon temperature=0\.0"):
        SupConLoss(temperature=0.0)
