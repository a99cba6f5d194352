"""Centre loss: value and moves of the centres by hand and against slow loops, whatever the optimiser does."""

from __future__ import annotations

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.losses import CenterLoss, center_loss


def slow_centers(centers: torch.Tensor, rows: torch.Tensor, labels: list[int], *, rate: float) -> torch.Tensor:
    moved = centers.clone()
    for identity in range(len(centers)):
        own = [row for row, label in zip(rows, labels, strict=True) if label == identity]
        difference = sum((centers[identity] - row for row in own), torch.zeros(centers.shape[1]))
        moved[identity] = centers[identity] - rate * difference / (1 + len(own))
    return moved


def test_by_hand() -> None:
    # Squared distances to the own centre: 1, 4 and 25; half of their mean is 5.
    centers = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 4.0]])
    assert center_loss(rows, centers, torch.tensor([0, 0, 1])).item() == pytest.approx(5.0)
    # Two pictures at (1, 0) and (0, 2) move a centre at 0 by 1/2 (1, 2) / (1 + 2) = (1/6, 1/3).
    loss = CenterLoss(rate=0.5, num_identities=2, embedding_dim=2)
    loss(rows[:2], torch.tensor([0, 0]))
    torch.testing.assert_close(loss.centers, torch.tensor([[1 / 6, 1 / 3], [0.0, 0.0]]))


def test_the_centers_follow_as_a_slow_loop_says() -> None:
    torch.manual_seed(0)
    loss = CenterLoss(rate=0.3, num_identities=5, embedding_dim=4)
    expected = torch.zeros(5, 4)
    for step in range(4):
        rows, labels = torch.randn(7, 4, requires_grad=True), [0, 1, 1, 3, 1, 0, step % 3]
        value = loss(rows, torch.tensor(labels))
        squares = [(row - expected[label]).square().sum() for row, label in zip(rows, labels, strict=True)]
        torch.testing.assert_close(value, sum(squares) / 14)
        value.backward()
        torch.testing.assert_close(rows.grad, (rows.detach() - expected[labels]) / 7)
        expected = slow_centers(expected, rows.detach(), labels, rate=0.3)
        torch.testing.assert_close(loss.centers, expected)
    assert loss.centers[4].abs().sum() == 0  # never seen


def test_centers_converge_to_the_means() -> None:
    loss = CenterLoss(rate=0.5, num_identities=2, embedding_dim=3)
    rows, labels = torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [0.0, 9.0, 0.0]]), torch.tensor([0, 0, 1])
    for _ in range(60):
        loss(rows, labels)
    torch.testing.assert_close(loss.centers, torch.tensor([[2.0, 3.0, 4.0], [0.0, 9.0, 0.0]]))


def test_centers_are_state_without_a_gradient_and_rest_in_evaluation_mode() -> None:
    loss = CenterLoss(rate=0.5, num_identities=2, embedding_dim=3)
    assert not list(loss.parameters()) and list(loss.state_dict()) == ["centers"]
    loss.eval()(torch.ones(2, 3), torch.tensor([0, 1]))
    assert loss.centers.abs().sum() == 0


def test_a_picture_that_is_not_finite_does_not_reach_the_centers() -> None:
    loss = CenterLoss(rate=0.5, num_identities=2, embedding_dim=2)
    value = loss(torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [float("inf"), 0.0]]), torch.tensor([0, 0, 1]))
    assert not torch.isfinite(value)
    torch.testing.assert_close(loss.centers, torch.tensor([[0.25, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(4, 8).to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 0])
    loss = CenterLoss(rate=0.5, num_identities=3, embedding_dim=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(embeddings, labels)
    assert value.dtype == loss.centers.dtype == torch.float32
    assert torch.equal(value, center_loss(embeddings.float(), torch.zeros(3, 8), labels))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_wrong_settings_are_named(rate: float) -> None:
    with pytest.raises(ReIDError, match=f"center rate={rate}"):
        CenterLoss(rate=rate, num_identities=3, embedding_dim=8)
