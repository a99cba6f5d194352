"""Frozen layers and the freeze warm-up: what must not move does not, to the bit, and moves again when it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.training.callbacks.freeze_warm_up import FreezeWarmUp
from reid_lightning.training.freezing import freeze_layers, keep_frozen_in_eval

STEM = ("conv1", "bn1")


def network(backbone: str = "test_resnet") -> ReIDModel:
    torch.manual_seed(0)
    return ReIDModel(backbone, ibn=None, last_stride=2, embedding_dim=8)


def frozen_names(model: ReIDModel) -> set[str]:
    return {name for name, parameter in model.backbone.named_parameters() if not parameter.requires_grad}


@pytest.mark.parametrize("layers", [[*STEM, "layer1"], ["stem", "layer1"], ["stem", "layer1.0", "layer1.1"], 3])
def test_the_same_layers_by_name_and_by_number(layers: list[str] | int) -> None:
    with torch.device("meta"):
        model = network("resnet18")
    names = freeze_layers(model, layers)
    parameters = {name for name, _ in model.backbone.named_parameters()}
    assert frozen_names(model) == set(names) == {name for name in parameters if name.startswith((*STEM, "layer1."))}


def test_nothing_to_freeze() -> None:
    model = network()
    assert freeze_layers(model, []) == freeze_layers(model, 0) == []
    assert frozen_names(model) == set()
    keep_frozen_in_eval(model.train())
    assert all(module.training for module in model.modules())


def test_names_end_where_they_end() -> None:
    model = ReIDModel("test_vit", ibn=None, last_stride=2)
    freeze_layers(model, ["stem", "blocks.1"])
    assert {name.split(".")[1] for name in frozen_names(model) if name.startswith("blocks")} == {"1"}
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} < frozen_names(model)


def test_frozen_layers_keep_their_statistics_and_the_others_do_not() -> None:
    model = network()
    freeze_layers(model, ["stem", "layer1", "layer2.0.bn1"])
    keep_frozen_in_eval(model.train())
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(torch.rand(4, 3, 32, 32)).embeddings.square().sum().backward()
    moved = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert "layer2.0.bn2.running_mean" in moved and "layer4.0.bn2.running_var" in moved
    assert not any(name.startswith(("bn1", "layer1", "layer2.0.bn1")) for name in moved)
    assert model.training and model.neck.training and model.backbone.layer2.training
    assert model.backbone.layer1[0].conv1.weight.grad is None and model.backbone.layer2[0].conv1.weight.grad is not None


def test_wrong_layers_are_named() -> None:
    with pytest.raises(ReIDError, match=r"freeze names 'layer5'.*its layers are stem, conv1, bn1, layer1, .*layer4"):
        freeze_layers(network(), ["layer5"])
    with pytest.raises(ReIDError, match=r"freeze=6: expected 0 to 5, .* the stem and 4 blocks"):
        freeze_layers(network(), 6)
    with pytest.raises(ReIDError, match="freeze='layer1': expected a list of layers"):
        freeze_layers(network(), "layer1")
    with pytest.raises(ReIDError, match="freeze=True: expected a list of layers"):
        freeze_layers(network(), True)


class Training(pl.LightningModule):
    """Trains a network to separate four pictures; notes the gradient norm that clipping sees."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model = model
        self.classifier = nn.Linear(8, 4)
        self.backbones: list[dict[str, Tensor]] = []
        self.clipped: list[set[str]] = []

    def on_train_start(self) -> None:
        keep_frozen_in_eval(self.model)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return nn.functional.cross_entropy(self.classifier(self.model(batch[0]).embeddings), batch[1])

    def configure_gradient_clipping(self, *arguments: object, **options: object) -> None:
        self.clipped.append({name for name, value in self.named_parameters() if value.grad is not None})
        super().configure_gradient_clipping(*arguments, **options)

    def on_train_batch_end(self, *arguments: object) -> None:
        self.backbones.append({name: value.clone() for name, value in self.model.backbone.state_dict().items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)

    def train_dataloader(self) -> DataLoader:
        images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        return DataLoader([(image, position % 4) for position, image in enumerate(images)], batch_size=4)


def fit(folder: Path, *, checkpoint: Path | None = None) -> Training:
    """Two epochs of two batches, a checkpoint each; layer1 never learns, the rest of the backbone in the second."""
    torch.manual_seed(0)
    module = Training(network())
    freeze_layers(module.model, ["layer1"])
    every_step = ModelCheckpoint(dirpath=folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[FreezeWarmUp(epochs=1), every_step],
        gradient_clip_val=1.0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Training:
    return fit(folder)


def test_the_backbone_waits_to_the_bit_and_then_learns(trained: Training) -> None:
    start = network().backbone.state_dict()
    for state in trained.backbones[:2]:
        assert all(torch.equal(state[name], value) for name, value in start.items())
    assert not torch.equal(trained.model.reduction.weight, network().reduction.weight)
    still = {name for name, value in start.items() if torch.equal(trained.backbones[3][name], value)}
    assert still == {name for name in start if name.startswith("layer1.")}
    assert trained.model.backbone.layer2.training and not trained.model.backbone.layer1.training


def test_clipping_sees_what_learns_only(trained: Training) -> None:
    learning = ["model.backbone.layer2.0.conv1.weight" in names for names in trained.clipped]
    assert learning == [False, False, True, True]
    assert all("model.reduction.weight" in names for names in trained.clipped)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_resumed_run_waits_as_long(folder: Path, trained: Training, tmp_path: Path, steps: int) -> None:
    resumed = fit(tmp_path, checkpoint=folder / f"step={steps}.ckpt")
    assert len(resumed.backbones) == 4 - steps
    for ours, theirs in zip(resumed.backbones, trained.backbones[steps:], strict=True):
        waits = torch.equal(theirs["layer2.0.conv1.weight"], network().backbone.layer2[0].conv1.weight)
        for name, value in network().backbone.state_dict().items():
            if waits or name.startswith("layer1."):
                assert torch.equal(ours[name], value)
        assert torch.equal(ours["bn1.num_batches_tracked"], theirs["bn1.num_batches_tracked"])


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_a_wrong_number_of_epochs_is_named(epochs: object) -> None:
    with pytest.raises(ReIDError, match="expected a whole number, 1 or more"):
        FreezeWarmUp(epochs=epochs)
