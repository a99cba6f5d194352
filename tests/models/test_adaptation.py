"""Adaptation: what it is by definition, and that it helps where that can be known."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.adaptation import adapted, link, strangeness


def small(**arguments: object) -> ReIDModel:
    torch.manual_seed(0)
    settings = {"ibn": None, "last_stride": 2, "pooling": "avg", "embedding_dim": 8} | arguments
    return ReIDModel("test_resnet", **settings).eval()


@pytest.mark.parametrize(
    "arguments", [{}, {"embedding_dim": None}, {"neck": "none"}, {"embedding_dim": None, "neck": "none"}]
)
def test_adapting_centres_and_whitens_the_embeddings_of_the_given_pictures(arguments: dict[str, object]) -> None:
    torch.manual_seed(1)
    model, images = small(**arguments), torch.rand(300, 3, 16, 16)
    if arguments.get("neck") != "none":
        for value in (model.neck.running_mean, model.neck.running_var, model.neck.weight):
            value.data.uniform_(0.5, 1.5)
    with torch.no_grad():
        before = model(images).embeddings
        moved = adapted(model, before, share=0.25, margin=None).model
        after = moved(images).embeddings
        assert after.mean(dim=0).abs().max() < 1e-2 * after.std()
        if not arguments:  # few numbers, so that their covariance can be known
            whole = torch.cov(adapted(model, before, share=1.0, margin=None).model(images).embeddings.T)
            scale = float(whole.diagonal().max())
            torch.testing.assert_close(whole, scale * torch.eye(len(whole)), atol=0.02 * scale, rtol=0)
        unmoved = functional.normalize(adapted(model, before, share=0.0, margin=None).model(images).embeddings, dim=1)
        expected = functional.normalize(before - before.mean(dim=0), dim=1)
        torch.testing.assert_close(unmoved @ unmoved.T, expected @ expected.T, atol=1e-3, rtol=0)
    again = ReIDModel(**moved.architecture)
    again.load_state_dict(moved.state_dict())


@pytest.mark.parametrize("embeddings", [torch.randn(1, 8), torch.full((20, 8), 0.3), torch.empty(0, 8)])
def test_what_does_not_differ_cannot_be_adapted_to(embeddings: torch.Tensor) -> None:
    with pytest.raises(ReIDError, match=f"^{len(embeddings)} pictures of which no two differ"):
        adapted(small(), embeddings)


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("count", [2, 20])
def test_fewer_pictures_than_numbers_leave_a_network_that_works(share: float, count: int) -> None:
    torch.manual_seed(0)
    model, images = small(embedding_dim=None), torch.rand(64, 3, 16, 16)
    with torch.no_grad():
        moved = adapted(model, model(images[:count]).embeddings, share=share).model
        assert all(value.isfinite().all() for value in moved.state_dict().values())
        assert torch.linalg.matrix_rank(moved.embed(images)) > 40, "what the few do not vary in is still there"


class TwoCameras:
    """Embeddings of so many vehicles before two cameras, which see a vehicle alike but for what is the camera's."""

    def __init__(self, vehicles: int, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        own = torch.randn(vehicles, 8, generator=generator) * torch.tensor([1.0] * 6 + [0.0] * 2)
        noise = torch.randn(2 * vehicles, 8, generator=generator) * torch.tensor([0.1] * 6 + [1.2] * 2)
        self.vehicles = torch.arange(vehicles).repeat(2)
        self.cameras = torch.tensor([0, 1]).repeat_interleave(vehicles)
        self.embeddings = own.repeat(2, 1) + noise + 4.0 * torch.tensor([0.0] * 7 + [1.0])

    def rank_1(self, rows: torch.Tensor, mean: torch.Tensor) -> float:
        """From the first camera in the second, by `rows` (8, 8) of what differs from `mean`."""
        one, other = functional.normalize((self.embeddings - mean) @ rows.T, dim=1).chunk(2)
        return float(((one @ other.T).argmax(dim=1) == torch.arange(len(one))).float().mean())


def test_links_of_pictures_without_labels_find_what_a_vehicle_varies_in() -> None:
    model, world, others = small(), TwoCameras(100), TwoCameras(100, seed=1)
    before = model.reduction.weight * (model.neck.weight / (model.neck.running_var + model.neck.eps).sqrt())[:, None]

    def moved(**known: object) -> float:
        after = adapted(model, world.embeddings, share=0.0, **known).model.reduction.weight
        return others.rank_1(after @ torch.linalg.pinv(before), world.embeddings.mean(dim=0))

    alone = moved(margin=None)
    linked = moved(cameras=world.cameras)
    told = moved(vehicles=world.vehicles, margin=None)
    assert linked > alone + 0.1
    assert told >= linked - 0.05


def test_a_link_joins_what_is_surely_one_vehicle_before_two_cameras() -> None:
    rows = torch.tensor(
        [[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.01], [0.0, 0.0, 1.0], [0.0, 0.01, 1.0]]
    )
    vehicles, cameras = torch.arange(6), torch.tensor([0, 1, 0, 0, 1, 1])
    labels, pairs = link(rows, vehicles, cameras)
    assert labels.tolist() == [0, 0, 2, 3, 4, 5], "2 and 3, 4 and 5 are of one camera"
    assert pairs == 1
    assert link(rows, vehicles, None)[0].tolist() == [0, 0, 2, 2, 4, 4]
    assert link(rows, vehicles, None, margin=0.99)[1] == 0
    tracks = torch.tensor([0, 1, 2, 2, 3, 3])  # of which the second is nearest to the first, before the other camera
    assert link(rows, tracks, torch.tensor([0, 1, 1, 1, 0, 0]))[0].tolist() == [0, 0, 2, 2, 3, 3]


def test_a_vehicle_with_two_likely_partners_is_linked_with_neither() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.05], [1.0, -0.05], [-1.0, 0.0]])
    assert link(rows, torch.arange(4), torch.tensor([0, 1, 1, 1]))[1] == 0
    assert link(rows[[0, 1, 3]], torch.arange(3), torch.tensor([0, 1, 1]))[1] == 1
    assert link(rows[:1], torch.tensor([0]), None)[1] == 0


def test_pictures_are_strange_as_far_as_their_mean_is_off() -> None:
    rows = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    rows -= rows.mean(dim=0)
    offset = torch.zeros(16)
    assert strangeness(rows) == 0.0
    offset[0] = (16 / 9) ** 0.5  # a tenth of the energy
    assert strangeness(rows + offset) == pytest.approx(0.5, abs=0.02)
    assert strangeness(rows + 3 * offset) == 1.0
