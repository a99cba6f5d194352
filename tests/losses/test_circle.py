"""Circle loss: the formula anchor by anchor, against pytorch-metric-learning, and its extremes."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as metric_learning

from reid_lightning.errors import ReIDError
from reid_lightning.losses import CircleLoss, Memory, circle_loss


def slow(
    embeddings: torch.Tensor, labels: torch.Tensor, *, margin: float, gamma: float, memory: Memory | None = None
) -> float:
    rows = embeddings.double()
    if memory is not None:
        rows, labels = torch.cat((rows, memory.embeddings.double())), torch.cat((labels, memory.labels))
    values = []
    for anchor in range(len(embeddings)):
        positives = negatives = 0.0
        for other in range(len(rows)):
            if other == anchor or labels[other] < 0:
                continue
            s = (rows[anchor] @ rows[other] / (rows[anchor].norm() * rows[other].norm())).item()
            if labels[anchor] == labels[other]:
                positives += math.exp(-gamma * max(0.0, 1 + margin - s) * (s - (1 - margin)))
            else:
                negatives += math.exp(gamma * max(0.0, s + margin) * (s - margin))
        if positives and negatives:
            values.append(math.log(1 + negatives * positives))
    return sum(values) / len(values) if values else 0.0


def test_by_hand() -> None:
    # Rows at 0, 60 and 90 degrees; the first two are one vehicle. gamma = 2, m = 0.25, so a (s - D) is
    #   s_p = 1/2:          -(1.25 - 0.5) (0.5 - 0.75)      =  0.1875, times gamma 0.375
    #   s_n = 0 (anchor 1):  (0 + 0.25) (0 - 0.25)          = -0.0625, times gamma -0.125
    #   s_n = sqrt(3)/2 (anchor 2): (s + .25)(s - .25)      =  0.6875, times gamma 1.375
    # log(1 + e^(0.375 - 0.125)) = 0.825939, log(1 + e^(0.375 + 1.375)) = 1.910225; their mean is 1.368082.
    angles = torch.tensor([0.0, math.pi / 3, math.pi / 2])
    embeddings = torch.stack((angles.cos(), angles.sin()), dim=1)
    value = circle_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.25, gamma=2.0)
    assert value.item() == pytest.approx(1.368082, abs=1e-5)


@pytest.mark.parametrize(("margin", "gamma"), [(0.25, 1.0), (0.25, 64.0), (0.4, 80.0)])
@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 2, 3, 4, 5, 5]])
def test_equals_a_slow_loop(labels: list[int], margin: float, gamma: float) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(8, 6) * 3
    value = circle_loss(embeddings, torch.tensor(labels), margin=margin, gamma=gamma)
    expected = slow(embeddings, torch.tensor(labels), margin=margin, gamma=gamma)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_a_memory_adds_candidates() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(4, 6), torch.tensor([0, 1, 2, 2])
    memory = Memory(torch.randn(5, 6), torch.tensor([2, -1, 0, 4, -1]))
    value = circle_loss(embeddings, labels, margin=0.25, gamma=16.0, memory=memory)
    assert value.item() == pytest.approx(slow(embeddings, labels, margin=0.25, gamma=16.0, memory=memory), rel=1e-5)


def test_equals_pytorch_metric_learning() -> None:
    torch.manual_seed(0)
    ours, labels = torch.randn(24, 8, requires_grad=True), torch.arange(24) // 4
    theirs = ours.detach().clone().requires_grad_()
    value = circle_loss(ours, labels, margin=0.25, gamma=64.0)
    expected = metric_learning.CircleLoss(m=0.25, gamma=64.0)(theirs, labels)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]], ids=["no positives", "no negatives"])
def test_batches_without_a_counting_anchor_give_0_and_keep_the_graph(labels: list[int]) -> None:
    embeddings = torch.randn(4, 3, requires_grad=True)
    value = circle_loss(embeddings, torch.tensor(labels), margin=0.25, gamma=64.0)
    value.backward()
    assert value.item() == 0.0 and embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e15])
def test_extreme_similarities_and_scales_give_no_nan(scale: float) -> None:
    # Positives point apart and negatives together: every similarity is at its worst.
    embeddings = (torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]) * scale).requires_grad_()
    value = circle_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=0.25, gamma=512.0)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(embeddings.grad).all()
    if scale == 1.0:
        assert value.item() == pytest.approx(512 * (2.25 * 1.75 + 1.25 * 0.75), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8).to(dtype).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = CircleLoss(margin=0.25, gamma=64.0)(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, circle_loss(embeddings.float(), labels, margin=0.25, gamma=64.0))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ReIDError, match=r"circle margin=0\.25, gamma=0\.0"):
        CircleLoss(margin=0.25, gamma=0.0)
