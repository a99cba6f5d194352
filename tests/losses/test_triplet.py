"""Batch-hard triplets: mining anchor by anchor, both margins, anchors that do not count."""

from __future__ import annotations

import math

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.losses import Memory, TripletLoss, triplet_loss


def slow(embeddings: torch.Tensor, labels: torch.Tensor, *, margin: float | None) -> float:
    rows, values = embeddings.double().tolist(), []
    for anchor in range(len(rows)):
        positives = [
            math.dist(rows[anchor], rows[other])
            for other in range(len(rows))
            if other != anchor and labels[other] == labels[anchor]
        ]
        negatives = [
            math.dist(rows[anchor], rows[other]) for other in range(len(rows)) if labels[other] != labels[anchor]
        ]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            values.append(math.log1p(math.exp(gap)) if margin is None else max(0.0, margin + gap))
    return sum(values) / len(values) if values else 0.0


def test_by_hand() -> None:
    # On a line: 0 and 3 are one vehicle, 4 and 10 another. Farthest positive minus nearest negative:
    # 3 - 4 = -1, 3 - 1 = 2, 6 - 1 = 5, 6 - 7 = -1. With m = 1: (0 + 3 + 6 + 0) / 4 = 2.25.
    embeddings = torch.tensor([[0.0], [3.0], [4.0], [10.0]])
    value = triplet_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=1.0, normalize=False)
    assert value.item() == pytest.approx(2.25, abs=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.3, None])
@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 2, 3, 4, 5, 5]])
def test_equals_a_slow_loop(labels: list[int], margin: float | None) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(8, 4)
    value = triplet_loss(embeddings, torch.tensor(labels), margin=margin, normalize=False)
    assert value.item() == pytest.approx(slow(embeddings, torch.tensor(labels), margin=margin), rel=1e-5)
    unit = torch.nn.functional.normalize(embeddings)
    value = triplet_loss(embeddings * 9, torch.tensor(labels), margin=margin)
    assert value.item() == pytest.approx(slow(unit, torch.tensor(labels), margin=margin), rel=1e-5)


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_memory_adds_candidates(margin: float | None, normalize: bool) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 2])
    memory = Memory(torch.randn(5, 3), torch.tensor([2, -1, 0, 4, -1]))
    known = memory.labels >= 0
    rows = torch.cat((embeddings, memory.embeddings[known]))
    names = torch.cat((labels, memory.labels[known])).tolist()
    rows = torch.nn.functional.normalize(rows) if normalize else rows
    values = []
    for anchor in range(4):
        to = [(rows[anchor] - row).norm() for row in rows]
        positives = [to[k] for k in range(len(rows)) if k != anchor and names[k] == names[anchor]]
        negatives = [to[k] for k in range(len(rows)) if names[k] != names[anchor]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            values.append(torch.log1p(gap.exp()) if margin is None else (gap + margin).clamp(min=0))
    expected = sum(values) / len(values)
    assert len(values) == 3  # the picture of vehicle 1 has no positive
    (expected_gradient,) = torch.autograd.grad(expected, embeddings)
    value = triplet_loss(embeddings, labels, margin=margin, normalize=normalize, memory=memory)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, embeddings)[0], expected_gradient)


def test_near_positives_keep_their_digits() -> None:
    # The first two are 1e-4 apart, the third lies on the first: 1e-4 - 0 and 1e-4 - 1e-4. In float32 their cosine is 1,
    # which a matrix product could not tell from 0 apart.
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 1e-4], [1.0, 0.0]])
    value = triplet_loss(embeddings, torch.tensor([0, 0, 1]), margin=0.0)
    assert value.item() == pytest.approx(0.5e-4, rel=1e-4)


@pytest.mark.parametrize("margin", [0.3, None])
def test_gradient(margin: float | None) -> None:
    torch.manual_seed(1)
    embeddings = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    torch.autograd.gradcheck(lambda rows: triplet_loss(rows, labels, margin=margin), embeddings)


@pytest.mark.parametrize("margin", [0.3, None])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]], ids=["no positives", "no negatives"])
def test_batches_without_a_counting_anchor_give_0_and_keep_the_graph(labels: list[int], margin: float | None) -> None:
    embeddings = torch.randn(4, 3, requires_grad=True)
    value = triplet_loss(embeddings, torch.tensor(labels), margin=margin)
    value.backward()
    assert value.item() == 0.0 and embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_and_zero_embeddings_cost_the_margin(value: float, normalize: bool) -> None:
    embeddings = torch.full((4, 3), value, requires_grad=True)
    result = triplet_loss(embeddings, torch.tensor([0, 0, 1, 1]), margin=0.3, normalize=normalize)
    result.backward()
    assert result.item() == pytest.approx(0.3)
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(6, 8).to(dtype), torch.tensor([0, 0, 1, 1, 2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = TripletLoss(margin=0.3)(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, triplet_loss(embeddings.float(), labels, margin=0.3))


def test_wrong_margin_is_named() -> None:
    with pytest.raises(ReIDError, match=r"triplet margin=-0\.1"):
        TripletLoss(margin=-0.1)
