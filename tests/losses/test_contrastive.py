"""Contrastive loss: the formula pair by pair, the number of pairs, gradients where distances vanish."""

from __future__ import annotations

import math

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.losses import ContrastiveLoss, Memory, contrastive_loss


def slow(
    embeddings: torch.Tensor, labels: torch.Tensor, *, margin: float, normalize: bool, balanced: bool = False
) -> float:
    rows = embeddings.double().tolist()
    if normalize:
        rows = [[value / max(math.hypot(*row), 1e-12) for value in row] for row in rows]
    same, others = [], []
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            distance = math.dist(rows[i], rows[j])
            (same if labels[i].item() == labels[j].item() else others).append(distance)
    if balanced:
        others = sorted(others)[: len(same)]
    total = sum(distance**2 for distance in same) + sum(max(0.0, margin - distance) ** 2 for distance in others)
    return total / (2 * max(1, len(same) + len(others)))


def test_by_hand() -> None:
    # d(1,2) = 0.3 (same), d(1,3) = 0.4 and d(2,3) = 0.5 (others); m = 1, N = 3:
    # (0.09 + 0.36 + 0.25) / 6 = 0.1166667.
    embeddings = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 0.4]])
    value = contrastive_loss(embeddings, torch.tensor([7, 7, 9]), margin=1.0, normalize=False)
    assert value.item() == pytest.approx(0.7 / 6, abs=1e-7)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0] * 6], ids=["usual", "no positives", "no negatives"]
)
@pytest.mark.parametrize("balanced", [True, False])
def test_equals_a_slow_loop(labels: list[int], normalize: bool, balanced: bool) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(6, 5)
    settings = {"margin": 1.2, "normalize": normalize, "balanced": balanced}
    value = contrastive_loss(embeddings, torch.tensor(labels), **settings)
    expected = slow(embeddings, torch.tensor(labels), **settings)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_a_common_offset_costs_no_digits() -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 5) + 1000.0, torch.tensor([0, 0, 1, 1, 2, 2])
    value = contrastive_loss(embeddings, labels, margin=4.0, normalize=False)
    assert value.item() == pytest.approx(slow(embeddings, labels, margin=4.0, normalize=False), rel=1e-4)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_memory_adds_candidates_to_every_anchor(normalize: bool) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(3, 5), torch.tensor([0, 1, 1])
    memory = Memory(torch.randn(4, 5), torch.tensor([1, -1, 0, 4]))
    rows = torch.cat((embeddings, memory.embeddings)).double()
    rows = torch.nn.functional.normalize(rows) if normalize else rows
    names, terms = [0, 1, 1, 1, -1, 0, 4], []
    for anchor in range(3):
        for other in range(7):
            if other != anchor and names[other] >= 0:
                distance = math.dist(rows[anchor].tolist(), rows[other].tolist())
                terms.append(distance**2 if names[anchor] == names[other] else max(0.0, 1.5 - distance) ** 2)
    value = contrastive_loss(embeddings, labels, margin=1.5, normalize=normalize, memory=memory)
    assert len(terms) == 3 * 2 + 3 * 3
    assert value.item() == pytest.approx(sum(terms) / (2 * len(terms)), rel=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradient(normalize: bool) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2])
    torch.autograd.gradcheck(lambda rows: contrastive_loss(rows, labels, margin=1.3, normalize=normalize), embeddings)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_identical_and_zero_embeddings_have_finite_gradients(value: float, normalize: bool) -> None:
    embeddings = torch.full((4, 3), value, requires_grad=True)
    result = contrastive_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=1.0, normalize=normalize)
    result.backward()
    # Two pairs of the same identity at d = 0, four of others at d = 0: 4 * 1 / (2 * 6).
    assert result.item() == pytest.approx(1 / 3)
    assert torch.isfinite(embeddings.grad).all()


def test_one_picture_has_no_pair() -> None:
    embeddings = torch.randn(1, 3, requires_grad=True)
    value = contrastive_loss(embeddings, torch.tensor([0]), margin=1.0)
    value.backward()
    assert value.item() == 0.0 and embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8).to(dtype), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = ContrastiveLoss(margin=1.0)(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, contrastive_loss(embeddings.float(), labels, margin=1.0))


def test_wrong_margin_is_named() -> None:
    with pytest.raises(ReIDError, match=r"contrastive margin=0\.0"):
        ContrastiveLoss(margin=0.0)
