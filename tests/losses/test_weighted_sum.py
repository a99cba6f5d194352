"""The weighted sum: arithmetic, what each term is fed, errors, every loss config, and that each one trains."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from reid_lightning.errors import ReIDError
from reid_lightning.losses import (
    AttributeLoss,
    CenterLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    IDLoss,
    Ramp,
    TripletLoss,
    WeightedSum,
    contrastive_loss,
    non_finite_terms,
    triplet_loss,
)
from reid_lightning.models import ReIDOutput

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIGS = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
TERMS = {  # where the terms are not the parts of the config's name
    "circle_softmax": ["circle_softmax"],
    "multi_similarity": ["multi_similarity"],
    "id_multi_similarity": ["id", "multi_similarity"],
    "metric_learning": ["metric_learning"],
    "triplet_soft": ["triplet"],
    "id_triplet_ramp": ["id", "triplet"],
    "bot": ["id", "triplet"],
    "transreid": ["id", "triplet"],
    "sbs": ["circle_softmax", "triplet"],
    "circle_xbm": ["circle_xbm"],
    "contrastive_xbm": ["contrastive_xbm"],
    "multi_similarity_xbm": ["multi_similarity_xbm"],
    "triplet_xbm": ["triplet_xbm"],
    "id_circle_xbm": ["id", "circle_xbm"],
    "id_circle_attributes": ["id", "circle", "colour", "vehicle_type"],
}
LABELS = torch.tensor([0, 0, 1, 1])


def term(weight: object = 1.0, *, on: str = "embeddings", loss: object = None) -> dict[str, object]:
    return {"weight": weight, "input": on, "loss": TripletLoss(margin=0.3) if loss is None else loss}


def build(terms: dict[str, object]) -> WeightedSum:
    return WeightedSum(terms, num_identities=2, embedding_dim=5)


def from_config(choice: str, *overrides: str, num_identities: int, embedding_dim: int) -> WeightedSum:
    classes = {"identity": num_identities, "colour": 3, "type": 2}
    return instantiate(composed(choice, *overrides), classes=classes, embedding_dim=embedding_dim)


def targets_of(labels: Tensor) -> dict[str, Tensor]:
    """Colours are known of every second vehicle, types of all."""
    return {"identity": labels, "colour": torch.where(labels % 2 == 0, labels % 3, -1), "type": labels % 2}


@functools.cache
def composed(choice: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(overrides=[f"+loss={choice}", *overrides]).loss


@pytest.fixture
def output() -> ReIDOutput:
    torch.manual_seed(0)
    return ReIDOutput(torch.randn(4, 5, requires_grad=True), torch.randn(4, 5, requires_grad=True))


def test_the_total_is_the_weighted_sum_of_what_each_loss_says_of_its_input(output: ReIDOutput) -> None:
    loss = build(
        {
            "far": term(0.5, on="features"),
            "pairs": term(3, loss=ContrastiveLoss(margin=1.0)),
            "id": term(2.0, loss=functools.partial(IDLoss, label_smoothing=0.1)),
        }
    )
    values = loss(output, LABELS)
    assert list(values) == ["far", "pairs", "id", "total"]
    torch.testing.assert_close(values["far"], triplet_loss(output.features, LABELS, margin=0.3))
    torch.testing.assert_close(values["pairs"], contrastive_loss(output.embeddings, LABELS, margin=1.0))
    torch.testing.assert_close(values["total"], 0.5 * values["far"] + 3 * values["pairs"] + 2 * values["id"])
    assert [name for name, value in values.items() if value.requires_grad] == ["total"]
    values["total"].backward()
    assert output.features.grad.abs().sum() > 0 and output.embeddings.grad.abs().sum() > 0
    assert loss.losses["id"].classifier.weight.grad.shape == (2, 5)


def test_a_term_of_weight_0_is_reported_and_trains_nothing(output: ReIDOutput) -> None:
    loss = build({"id": term(0.0, loss=functools.partial(IDLoss, label_smoothing=0.1)), "far": term(on="features")})
    values = loss(output, LABELS)
    values["total"].backward()
    assert values["id"] > 0 and torch.equal(values["total"], values["far"])
    assert output.embeddings.grad.abs().sum() == 0
    assert loss.losses["id"].classifier.weight.grad.abs().sum() == 0


class LocalOrNot(nn.Module):
    """Says whether it was given the tensor itself."""

    def __init__(self, *, owns_weights: bool) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        if owns_weights:
            self.weight = nn.Parameter(torch.ones(1))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(embeddings)
        return embeddings.sum()


def test_only_losses_without_weights_see_all_ranks(output: ReIDOutput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "reid_lightning.losses.weighted_sum.gather_across_ranks", lambda tensor: torch.cat((tensor, tensor))
    )
    metric, classifier = LocalOrNot(owns_weights=False), LocalOrNot(owns_weights=True)
    build({"metric": term(loss=metric), "classifier": term(loss=classifier)})(output, LABELS)
    assert len(metric.seen[0]) == 8 and len(classifier.seen[0]) == 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_any_loss_runs_in_float32_under_autocast(dtype: torch.dtype) -> None:
    metric = LocalOrNot(owns_weights=False)
    half = torch.randn(4, 5, requires_grad=True).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = build({"metric": term(loss=metric)})(ReIDOutput(half, half), LABELS)
    assert metric.seen[0].dtype == values["total"].dtype == torch.float32


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, r"loss\.terms is empty"),
        ({"total": term()}, r"loss\.terms\.total: 'total' is the name of the sum"),
        ({"far": term(-1.0)}, r"loss\.terms\.far\.weight=-1\.0: expected a number of at least 0"),
        ({"far": term("1")}, r"loss\.terms\.far\.weight='1'"),
        ({"far": term(float("nan"))}, r"loss\.terms\.far\.weight=nan"),
        ({"far": term(True)}, r"loss\.terms\.far\.weight=True"),
        (
            {"far": term(lambda progress: 0.5 - progress)},
            r"loss\.terms\.far\.weight=-0\.5: .* or reid_lightning\.losses\.Ramp",
        ),
        ({"far": term(on="neck")}, r"input='neck': expected one of \['features', 'embeddings'\]"),
        ({"far": {"weight": 1.0}}, r"loss\.terms\.far has \['weight'\]; expected exactly the keys"),
        ({"far": term() | {"wieght": 2}}, r"wieght"),
        ({"far": 1.0}, r"loss\.terms\.far has float"),
        ({"type": term()}, r"'type' is a name of torch's own.*another name"),
        ({"far": term(loss=3.0)}, r"loss\.terms\.far\.loss is a float; expected a module"),
    ],
)
def test_wrong_terms_are_named(terms: dict[str, object], message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        build(terms)


def test_a_scheduled_weight_follows_the_progress_and_can_be_logged(output: ReIDOutput) -> None:
    ramp = Ramp(before=0.0, after=2.0, begin=0.25, end=0.75)
    loss = build({"far": term(ramp), "pairs": term(3.0, loss=ContrastiveLoss(margin=1.0))})
    for progress, weight in ((0.0, 0.0), (0.5, 1.0), (1.0, 2.0)):
        values = loss(output, LABELS, progress=progress)
        assert loss.weights(progress) == {"far": weight}
        torch.testing.assert_close(values["total"], weight * values["far"] + 3.0 * values["pairs"])
    torch.testing.assert_close(loss(output, LABELS)["total"], 3.0 * values["pairs"])


def test_a_partial_is_finished_with_the_sizes_that_it_takes() -> None:
    memory = functools.partial(CrossBatchMemory, TripletLoss(margin=0.3), size=16, warm_up=0)
    center = functools.partial(CenterLoss, rate=0.5)
    loss = build({"far": term(loss=memory), "center": term(loss=center), "round": term(loss=functools.partial(Round))})
    assert loss.losses["far"].embeddings.shape == (16, 5) and loss.losses["center"].centers.shape == (2, 5)


class Round(nn.Module):
    """Takes no size at all."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.square().sum()


def test_batches_that_hold_no_pairs_are_refused() -> None:
    xbm = CrossBatchMemory(TripletLoss(margin=0.3), size=16, warm_up=0, embedding_dim=5)
    pairs = {"far": term(), "pairs": term(Ramp(before=0, after=1, begin=0, end=1)), "watched": term(0.0)}
    alone = {
        "id": term(loss=functools.partial(IDLoss, label_smoothing=0.1)),
        "center": term(loss=functools.partial(CenterLoss, rate=0.5)),
        "memory": term(loss=xbm),
        "watched": term(0),
    }
    build(pairs).check_batch(identities=2, images_per_identity=2)
    build(alone).check_batch(identities=1, images_per_identity=1)
    with pytest.raises(ReIDError, match=r"images_per_identity=1: the loss terms \[far, pairs\] compare pictures"):
        build(pairs).check_batch(identities=8, images_per_identity=1)
    with pytest.raises(ReIDError, match=r"identities_per_batch=1: the loss terms \[far, pairs\]"):
        build(pairs).check_batch(identities=1, images_per_identity=4)
    with pytest.raises(ReIDError, match=r"loss\.terms\.memory\.loss\.size=16 is less than the 20 pictures"):
        build(alone).check_batch(identities=5, images_per_identity=4)


def test_terms_that_are_not_finite_are_named() -> None:
    values = {"id": torch.tensor(1.0), "far": torch.tensor(float("nan")), "total": torch.tensor(float("inf"))}
    assert non_finite_terms(values) == ["far", "total"]
    assert non_finite_terms({"id": torch.tensor(1.0)}) == []


def attribute(target: str, loss: object = AttributeLoss) -> dict[str, object]:
    return term(loss=functools.partial(loss, label_smoothing=0.1)) | {"target": target}


def test_an_attribute_is_learned_from_the_pictures_that_have_it(output: ReIDOutput) -> None:
    classes = {"identity": 2, "colour": 3, "type": 0}
    loss = WeightedSum(
        {"id": attribute("identity", IDLoss), "c": attribute("colour")}, classes=classes, embedding_dim=5
    )
    assert loss.losses["c"].classifier.weight.shape == (3, 5)
    known = torch.tensor([2, -1, -1, 0])
    values = loss(output, {"identity": LABELS, "colour": known})
    logits = nn.functional.linear(output.embeddings, loss.losses["c"].classifier.weight)[[0, 3]]
    expected = nn.functional.cross_entropy(logits, known[[0, 3]], label_smoothing=0.1)
    torch.testing.assert_close(values["c"], expected.detach())
    values = loss(output, {"identity": LABELS, "colour": torch.full((4,), -1)})
    values["total"].backward()
    assert values["c"] == 0 and values["total"] == values["id"]
    assert loss.losses["c"].classifier.weight.grad.abs().sum() == 0  # and not None: DDP waits for every gradient


@pytest.mark.parametrize(
    ("target", "loss", "message"),
    [
        ("make", AttributeLoss, r"loss\.terms\.x\.target='make': expected one of identity, colour, type"),
        ("type", AttributeLoss, r"target=type: there are 0 of it .* a column `type`"),
        ("colour", IDLoss, r"loss\.terms\.x: IDLoss cannot learn colour.*AttributeLoss"),
    ],
)
def test_targets_that_cannot_be_learned_are_named(target: str, loss: object, message: str) -> None:
    classes = {"identity": 2, "colour": 3, "type": 0}
    with pytest.raises(ReIDError, match=message):
        WeightedSum({"x": attribute(target, loss)}, classes=classes, embedding_dim=5)


def test_a_weight_can_be_overridden() -> None:
    loss = from_config("id_triplet", "loss.terms.triplet.weight=0", num_identities=2, embedding_dim=5)
    values = loss(ReIDOutput(torch.randn(4, 5), torch.randn(4, 5)), LABELS)
    torch.testing.assert_close(values["total"], values["id"])


class ToyNetwork(nn.Module):
    """Two layers and a neck from random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 32))
        self.neck = nn.BatchNorm1d(32)
        self.neck.bias.requires_grad_(False)

    def forward(self, images: Tensor) -> ReIDOutput:
        features = self.body(images)
        return ReIDOutput(features, self.neck(features))


def small(choice: str) -> list[str]:
    """Overrides that make a memory fit a toy."""
    if not choice.endswith("_xbm"):
        return []
    where = f"loss.terms.{choice.removeprefix('id_')}.loss"
    return [f"{where}.size=512", f"{where}.warm_up=1000"]


@pytest.mark.parametrize("choice", CONFIGS)
def test_every_loss_config_holds_its_terms_and_trains_from_random_weights_without_collapsing(choice: str) -> None:
    torch.manual_seed(0)
    # Half of the numbers belong to the vehicle, half of them, three times as strong, change from picture to picture.
    vehicles = torch.randn(48, 24) * (torch.arange(24) < 12)
    seen, unseen = vehicles[:32], vehicles[32:]

    def draw(base: Tensor, each: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(len(base)).repeat_interleave(each)
        return base[labels] + torch.randn(len(labels), 24) * torch.where(torch.arange(24) < 12, 0.3, 3.0), labels

    def rank_1(network: ToyNetwork) -> float:
        network.eval()
        with torch.no_grad():
            rows = nn.functional.normalize(network(pictures).embeddings)
        network.train()
        similarity = (rows @ rows.T).fill_diagonal_(-2.0)
        return (names[similarity.argmax(dim=1)] == names).float().mean().item()

    pictures, names = draw(unseen, 6)
    network = ToyNetwork().train()
    loss = from_config(choice, *small(choice), num_identities=len(seen), embedding_dim=32)
    assert sorted(loss.losses) == sorted(TERMS.get(choice, choice.split("_")))
    trained = [value for value in (*network.parameters(), *loss.parameters()) if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    before, steps, totals = rank_1(network), 40, []
    for step in range(steps):
        images, labels = draw(seen, 4)
        total = loss(network(images), targets_of(labels), progress=step / steps)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert all(parameter.grad is not None for parameter in trained)
    assert sum(totals[-10:]) < 0.8 * sum(totals[:10])
    assert rank_1(network) > before + 0.3


@pytest.mark.parametrize("choice", CONFIGS)
def test_no_loss_of_ours_waits_for_the_device(choice: str) -> None:
    # Tensors without numbers: whatever has to look at one (a copy to the host, a shape that depends on values) raises.
    waits = pytest.raises(DynamicOutputShapeException) if choice == "metric_learning" else contextlib.nullcontext()
    with FakeTensorMode(), waits:
        loss = from_config(choice, *small(choice), num_identities=4, embedding_dim=8)
        features, labels = torch.randn(6, 8, requires_grad=True), torch.zeros(6, dtype=torch.long)
        loss(ReIDOutput(features, features * 2.0), targets_of(labels), progress=0.2)["total"].backward()
        assert features.grad.shape == (6, 8)
