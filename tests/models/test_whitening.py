"""Whitened starts: what they are by definition, and that they help where it can be known."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.whitening import directions, pooled_features, scatter, start_reduction


def crowd(*, vehicles: int, pictures: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features whose vehicles differ in the first four numbers, while all pictures differ much more in the others."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(vehicles, 12, generator=generator) * torch.tensor([1.0] * 4 + [0.1] * 8)
    noise = torch.randn(vehicles * pictures, 12, generator=generator) * torch.tensor([0.2] * 4 + [3.0] * 8)
    labels = torch.arange(vehicles).repeat_interleave(pictures)
    return centres[labels] + noise + 5.0, labels


def rank_1(features: torch.Tensor, labels: torch.Tensor) -> float:
    unit = functional.normalize(features, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-2.0)
    return float((labels[similarity.argmax(dim=1)] == labels).float().mean())


def small(**arguments: object) -> ReIDModel:
    torch.manual_seed(0)
    settings = {"ibn": None, "last_stride": 2, "pooling": "avg", "embedding_dim": 8} | arguments
    return ReIDModel("test_resnet", **settings).eval()


def test_scatter_is_what_its_definition_says() -> None:
    features, labels = crowd(vehicles=5, pictures=3)
    found = scatter(features, labels)
    rows = features.double()
    within = torch.zeros(12, 12, dtype=torch.double)
    for row, label in zip(rows, labels, strict=True):
        centred = row - rows[labels == label].mean(dim=0)
        within += torch.outer(centred, centred) / (len(rows) - 1)
    torch.testing.assert_close(found.within, within)
    torch.testing.assert_close(found.total, torch.cov(rows.T))
    torch.testing.assert_close(scatter(features).within, torch.cov(rows.T))


def test_directions_have_unit_scatter_within_and_find_what_tells_vehicles_apart() -> None:
    features, labels = crowd(vehicles=60, pictures=6)
    found = scatter(features, labels)
    rows = directions(found, 4, shrinkage=0.0)
    torch.testing.assert_close(rows @ found.within @ rows.T, torch.eye(4, dtype=torch.double))
    totals = (rows @ found.total @ rows.T).diagonal()
    assert (totals.diff() <= 0).all(), "the best comes first"
    others, truth = crowd(vehicles=60, pictures=6, seed=1)
    assert rank_1((others.double() - found.mean) @ rows.T, truth) > rank_1(others, truth) + 0.3
    with pytest.raises(ReIDError, match="expected 1 to 12"):
        directions(found, 13)


def test_a_started_reduction_centres_and_whitens_in_training_and_evaluation_alike() -> None:
    torch.manual_seed(0)
    model, images = small(), torch.rand(24, 3, 32, 32)
    labels = torch.arange(24) // 3
    features = pooled_features(model, images.split(7))
    found = scatter(features, labels)
    start_reduction(model, found)
    expected = (features.double() - found.mean) @ directions(found, 8).T
    with torch.no_grad():
        torch.testing.assert_close(model(images).embeddings.double(), expected, atol=1e-3, rtol=1e-3)
        model.neck.train()  # by the statistics of this very batch, with its 1 / N
        torch.testing.assert_close(model(images).embeddings.double(), expected * (24 / 23) ** 0.5, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("arguments", [{"embedding_dim": None}, {"neck": "none"}])
def test_a_network_without_a_reduction_or_a_neck_cannot_start_there(arguments: dict[str, object]) -> None:
    model = small(**arguments)
    with pytest.raises(ReIDError, match=r"model\.embedding_dim"):
        start_reduction(model, scatter(_features(model)))


def _features(model: ReIDModel) -> torch.Tensor:
    return pooled_features(model, [torch.rand(9, 3, 32, 32)])
