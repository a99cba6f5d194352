"""Joined maps of several stages, and features of a picture together with its mirror image."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel


def model(name: str = "tf_efficientnet_lite0", **arguments: object) -> ReIDModel:
    torch.manual_seed(0)
    settings = {"ibn": None, "last_stride": 2, "levels": [4, 5, 6, 7]} | arguments
    return ReIDModel(name, **settings).eval()


@torch.inference_mode()
def test_each_level_is_pooled_and_scaled_to_length_1() -> None:
    joined = model(pooling="avg", neck="none")
    images = torch.rand(2, 3, 64, 64)
    maps, expected = joined.backbone.bn1(joined.backbone.conv_stem(images)), []
    for number, stage in enumerate(joined.backbone.blocks, start=1):
        maps = stage(maps)
        if number >= 4:
            expected.append(functional.normalize(maps.mean((2, 3)), dim=1))
    assert [each.shape[1] for each in expected] == [80, 112, 192, 320]
    torch.testing.assert_close(joined(images).embeddings, torch.cat(expected, 1))


@pytest.mark.parametrize(
    ("name", "levels", "channels"), [("resnet18", [2, 3], 384), ("tf_efficientnet_lite0", [0, 5], 32 + 112)]
)
def test_what_lies_behind_the_last_level_is_taken_out(name: str, levels: list[int], channels: int) -> None:
    cut = model(name, levels=levels).train()
    output = cut(torch.rand(4, 3, 64, 64))
    assert output.features.shape == (4, channels)
    output.embeddings.square().sum().backward()
    learning = [each for each in cut.parameters() if each.requires_grad]
    assert all(each.grad is not None for each in learning), "a weight without a gradient stops DDP"
    again = ReIDModel(**cut.architecture)
    again.load_state_dict(cut.state_dict())


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("resnet18", [3, 9], r"levels=\[3, 9\]: this ResNet does not have them all"),
        ("resnet18", [3, 2], "rising order"),
        ("resnet18", [], "rising order"),
        ("resnet18", [-2, -1], "rising order"),
        ("resnet18", [True, 2], "rising order"),
        ("resnet18", "23", r"levels=23: expected numbers"),
        ("resnet18", {3: 4}, "rising order"),
        ("resnet18", 3, r"levels=3: expected numbers"),
        ("resnet18", True, r"levels=True: expected numbers"),
        ("resnet18", range(9000), r"^levels=\[0, 1.*: this ResNet"),
        ("resnet18", list(range(9000)), r"^levels=\[0, 1.{1,100} \.\.\. .{1,100}8999\]: this ResNet"),
        ("osnet_x0_25", [2], "needs a timm network"),
    ],
)
def test_levels_that_a_network_does_not_have(name: str, levels: object, message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        model(name, levels=levels)


@pytest.mark.parametrize("mirror", ["false", 0, None, [], "x" * 10_000])
def test_mirror_is_true_or_false(mirror: object) -> None:
    with pytest.raises(ReIDError, match=r"^mirror=.{1,150}: expected true or false$"):
        model(levels=None, mirror=mirror)


@torch.inference_mode()
def test_mirror_gives_a_picture_and_its_mirror_image_one_embedding() -> None:
    plain, both = model(mirror=False), model(mirror=True)
    both.load_state_dict(plain.state_dict())
    images = torch.rand(3, 3, 64, 64)
    features = (plain(images).features + plain(images.flip(-1)).features) / 2
    torch.testing.assert_close(both(images).features, features)
    torch.testing.assert_close(both.embed(images), both.embed(images.flip(-1)))
    twin = copy.deepcopy(both).train()
    plain.train()
    torch.testing.assert_close(twin(images).features, plain(images).features)  # training sees one at a time
    assert both.architecture["mirror"] and "mirror" not in plain.architecture
