"""Margin heads: each formula by hand, against a slow loop and pytorch-metric-learning, and at extreme cosines."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as metric_learning
from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.losses import (
    ArcFaceLoss,
    CircleSoftmaxLoss,
    CosFaceLoss,
    arcface_logits,
    circle_logits,
    cosface_logits,
    id_loss,
)

HEADS = {
    "arcface": (ArcFaceLoss, arcface_logits),
    "cosface": (CosFaceLoss, cosface_logits),
    "circle_softmax": (CircleSoftmaxLoss, circle_logits),
}


def slow_logit(head: str, s: float, *, own: bool, m: float, scale: float) -> float:
    if head == "circle_softmax":
        return scale * (max(0.0, 1 + m - s) * (s - (1 - m)) if own else max(0.0, s + m) * (s - m))
    if not own:
        return scale * s
    if head == "cosface":
        return scale * (s - m)
    theta = math.acos(max(-1.0, min(1.0, s)))
    return scale * (math.cos(theta + m) if theta < math.pi - m else s - m * math.sin(m))


def slow(
    head: str, rows: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor, *, m: float, scale: float
) -> float:
    total = 0.0
    for row, label in zip(rows.double(), labels.tolist(), strict=True):
        logits = []
        for identity, weight in enumerate(weights.double()):
            s = (row @ weight / (row.norm() * weight.norm())).item()
            logits.append(slow_logit(head, s, own=identity == label, m=m, scale=scale))
        total += math.log(sum(math.exp(value - logits[label]) for value in logits))
    return total / len(rows)


def test_logits_by_hand() -> None:
    # Cosines of 60 and 90 degrees; the picture's own identity is the first. m = 30 degrees, scale 10:
    # ArcFace 10 cos(90) = 0; CosFace with m = 0.2: 10 (0.5 - 0.2) = 3; the other logit is 10 cos(90) = 0 in both.
    cosines, labels = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
    torch.testing.assert_close(arcface_logits(cosines, labels, margin=math.pi / 6, scale=10.0), torch.zeros(1, 2))
    torch.testing.assert_close(cosface_logits(cosines, labels, margin=0.2, scale=10.0), torch.tensor([[3.0, 0.0]]))
    # Circle, m = 0.25: (1.25 - 0.5) (0.5 - 0.75) = -0.1875 and (0 + 0.25) (0 - 0.25) = -0.0625, times 10.
    circle = circle_logits(cosines, labels, margin=0.25, scale=10.0)
    torch.testing.assert_close(circle, torch.tensor([[-1.875, -0.625]]))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("margin", [0.0, 0.35, 0.9])
def test_equals_a_slow_loop(head: str, margin: float) -> None:
    torch.manual_seed(0)
    loss = HEADS[head][0](margin=margin, scale=16.0, label_smoothing=0.0, num_identities=5, embedding_dim=4)
    rows, labels = torch.randn(12, 4) * 3, torch.arange(12) % 5
    expected = slow(head, rows, loss.classifier.weight.detach(), labels, m=margin, scale=16.0)
    assert loss(rows, labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("head", ["arcface", "cosface"])
def test_equals_pytorch_metric_learning(head: str) -> None:
    torch.manual_seed(0)
    ours = HEADS[head][0](margin=0.5, scale=30.0, label_smoothing=0.0, num_identities=7, embedding_dim=4)
    theirs = {
        "arcface": metric_learning.ArcFaceLoss(7, 4, margin=math.degrees(0.5), scale=30.0),
        "cosface": metric_learning.CosFaceLoss(7, 4, margin=0.5, scale=30.0),
    }[head]
    theirs.W.data = ours.classifier.weight.detach().T.clone()
    rows, labels = torch.randn(40, 4), torch.arange(40) % 7
    torch.testing.assert_close(ours(rows, labels), theirs(rows, labels), rtol=1e-5, atol=1e-5)


def test_the_own_logit_of_arcface_falls_over_the_whole_half_circle() -> None:
    angles = torch.linspace(0.0, math.pi, 181, dtype=torch.float64)
    own = arcface_logits(angles.cos()[:, None], torch.zeros(181, dtype=torch.long), margin=0.5, scale=1.0)[:, 0]
    assert (own.diff() < 0).all()


@pytest.mark.parametrize("head", HEADS)
def test_gradient(head: str) -> None:
    torch.manual_seed(1)
    cosines = torch.rand(5, 4, dtype=torch.float64).mul(1.8).sub(0.9).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = HEADS[head][0](margin=0.3, scale=4.0, label_smoothing=0.0, num_identities=4, embedding_dim=4).double()
    if head == "circle_softmax":  # its weights have no gradient by definition: compare with them fixed
        fixed = cosines.detach()
        a = torch.where(torch.eye(4, dtype=torch.bool)[labels], 1.3 - fixed, fixed + 0.3).clamp(min=0)
        value = torch.nn.functional.cross_entropy(loss.logits(cosines, labels), labels)
        (gradient,) = torch.autograd.grad(value, cosines)
        shares = loss.logits(fixed, labels).softmax(dim=1) - torch.eye(4, dtype=torch.float64)[labels]
        torch.testing.assert_close(gradient, 4.0 * a * shares / 5)
    else:
        torch.autograd.gradcheck(lambda values: loss.logits(values, labels), cosines)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "rows", [torch.eye(3), -torch.eye(3), torch.zeros(3, 3), torch.eye(3) * 1e-20, torch.eye(3) * 1e18]
)
def test_extreme_cosines_and_lengths_give_finite_gradients(head: str, rows: torch.Tensor) -> None:
    loss = HEADS[head][0](margin=0.35, scale=64.0, label_smoothing=0.0, num_identities=3, embedding_dim=3)
    with torch.no_grad():
        loss.classifier.weight.copy_(torch.eye(3))
    rows = rows.clone().requires_grad_()
    value = loss(rows, torch.arange(3))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(rows.grad).all() and torch.isfinite(loss.classifier.weight.grad).all()


@pytest.mark.parametrize("head", HEADS)
def test_labels_are_smoothed_on_request(head: str) -> None:
    torch.manual_seed(0)
    build, logits = HEADS[head]
    loss = build(margin=0.3, scale=8.0, label_smoothing=0.2, num_identities=4, embedding_dim=6)
    rows, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 3, 3])
    cosines = nn.functional.normalize(rows) @ nn.functional.normalize(loss.classifier.weight).T
    expected = id_loss(logits(cosines, labels, margin=0.3, scale=8.0), labels, label_smoothing=0.2)
    torch.testing.assert_close(loss(rows, labels), expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(head: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    loss = HEADS[head][0](margin=0.35, scale=64.0, label_smoothing=0.0, num_identities=3, embedding_dim=8)
    embeddings, labels = torch.randn(4, 8).to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(embeddings.float(), labels))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_weights_belong_to_the_loss_and_start_small(head: str) -> None:
    torch.manual_seed(0)
    loss = HEADS[head][0](margin=0.3, scale=30.0, label_smoothing=0.0, num_identities=500, embedding_dim=64)
    assert [name for name, _ in loss.named_parameters()] == ["classifier.weight"]
    assert loss.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"margin": -0.1}, r"Loss margin=-0\.1, scale=30\.0: expected margin in \[0, "),
        ({"margin": 9.0}, r"Loss margin=9\.0"),
        ({"scale": 0.0}, r"scale=0\.0: expected .* scale above 0"),
        ({"label_smoothing": 1.0}, r"label_smoothing=1\.0"),
        ({"num_identities": 0}, "num_identities=0"),
    ],
)
def test_wrong_settings_are_named(head: str, wrong: dict[str, float], message: str) -> None:
    settings = {"margin": 0.3, "scale": 30.0, "label_smoothing": 0.0, "num_identities": 3, "embedding_dim": 4} | wrong
    with pytest.raises(ReIDError, match=message):
        HEADS[head][0](**settings)
