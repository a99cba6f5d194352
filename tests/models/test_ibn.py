"""IBN networks: keys and shapes of the published weights, and what the layers do."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models.ibn import IBN, apply_ibn

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnext101_32x4d": (3, 4, 23, 3),
    "seresnet101": (3, 4, 23, 3),
}
RELEASED = [(name, variant) for name in BLOCKS for variant in "ab" if variant == "a" or name.startswith("resnet")]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def expected_shapes(name: str, variant: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the IBN-Net release, written down by hand as a rule; squeeze-and-excitation as timm has it."""
    bottleneck = name not in ("resnet18", "resnet34")
    groups = 32 if name.startswith("resnext") else 1
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def batch_norm(prefix: str, channels: int) -> None:
        shapes.update({f"{prefix}.{part}": () if part == NORM[-1] else (channels,) for part in NORM})

    def instance_norm(prefix: str, channels: int) -> None:
        shapes.update({f"{prefix}.weight": (channels,), f"{prefix}.bias": (channels,)})

    (instance_norm if variant == "b" else batch_norm)("bn1", 64)
    came = 64
    for stage, blocks in enumerate(BLOCKS[name], start=1):
        width = 64 * 2 ** (stage - 1)
        out = width * (4 if bottleneck else 1)
        width *= 2 if groups > 1 else 1
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            shapes[f"{prefix}.conv1.weight"] = (width, came, 1, 1) if bottleneck else (width, came, 3, 3)
            if variant == "a" and stage < 4:
                instance_norm(f"{prefix}.bn1.IN", width // 2)
                batch_norm(f"{prefix}.bn1.BN", width // 2)
            else:
                batch_norm(f"{prefix}.bn1", width)
            shapes[f"{prefix}.conv2.weight"] = (width, width // groups, 3, 3)
            batch_norm(f"{prefix}.bn2", width)
            if bottleneck:
                shapes[f"{prefix}.conv3.weight"] = (out, width, 1, 1)
                batch_norm(f"{prefix}.bn3", out)
            if name.startswith("se"):
                shapes |= {f"{prefix}.se.fc1.weight": (out // 16, out, 1, 1), f"{prefix}.se.fc1.bias": (out // 16,)}
                shapes |= {f"{prefix}.se.fc2.weight": (out, out // 16, 1, 1), f"{prefix}.se.fc2.bias": (out,)}
            if variant == "b" and stage < 3 and block == blocks - 1:
                instance_norm(f"{prefix}.IN", out)
            if block == 0 and came != out:
                shapes[f"{prefix}.downsample.0.weight"] = (out, came, 1, 1)
                batch_norm(f"{prefix}.downsample.1", out)
            came = out
    return shapes


def build(name: str, variant: str) -> torch.nn.Module:
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0, global_pool="")
    apply_ibn(backbone, variant)
    return backbone


@pytest.mark.parametrize(("name", "variant"), RELEASED)
def test_keys_and_shapes_are_those_of_the_published_weights(name: str, variant: str) -> None:
    with torch.device("meta"):
        backbone = build(name, variant)
    shapes = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    assert shapes == expected_shapes(name, variant)


def test_ibn_normalises_each_picture_in_the_first_half_and_the_batch_in_the_second() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 6, 4, 5) * 2 + torch.arange(3)[:, None, None, None]
    layer = IBN(nn.BatchNorm2d(6)).train()
    result = layer(maps)
    for picture in range(3):
        for channel in range(3):
            values = maps[picture, channel]
            expected = (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(result[picture, channel], expected, atol=1e-5, rtol=1e-4)
    for channel in range(3, 6):
        values = maps[:, channel]
        expected = (values - values.mean()) / (values.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(result[:, channel], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", [True, False])
def test_one_pass_over_all_channels_equals_the_two_norms(mode: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(7, eps=1e-3)
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        value.data.uniform_(0.5, 2.0)
    once = IBN(norm).double().train(mode)
    twice = copy.deepcopy(once)
    maps = torch.randn(4, 7, 5, 6, dtype=torch.double) * 3 + 2
    inputs = [maps.clone().requires_grad_() for _ in range(2)]
    results = [once(inputs[0]), twice._in_two_halves(inputs[1])]
    for result in results:
        (result.sin() * torch.arange(7.0)[:, None, None]).sum().backward()
    torch.testing.assert_close(*results)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for one, two in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(once.buffers(), twice.buffers(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("name", "of_a", "of_b"),
    [("tf_efficientnet_lite0", 11, 2), ("mobilenetv3_small_050", 8, 2), ("regnety_002", 6, None)],
)
def test_other_networks_with_batch_norms(name: str, of_a: int, of_b: int | None) -> None:
    for variant, count in (("a", of_a), ("b", of_b)):
        if count is None:
            with pytest.raises(ReIDError, match="blocks that end in an addition"):
                build(name, variant)
            continue
        backbone = build(name, variant)
        assert sum(key.endswith(".IN.weight") for key in backbone.state_dict()) == count
        backbone(torch.rand(2, 3, 64, 64)).sum().backward()
        assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_ibn_splits_an_odd_number_of_channels() -> None:
    layer = IBN(nn.BatchNorm2d(5))
    assert (layer.IN.num_features, layer.BN.num_features) == (2, 3)
    assert layer(torch.rand(2, 5, 3, 3)).shape == (2, 5, 3, 3)


def test_a_quarter_of_the_channels_disturbs_less() -> None:
    torch.manual_seed(0)
    maps, norm = torch.randn(8, 8, 6, 6) + torch.randn(8, 8, 1, 1), nn.BatchNorm2d(8, momentum=None)
    norm(maps)  # its statistics are those of the maps
    expected = norm.eval()(maps)
    half, quarter = ((IBN(norm, part=part).eval()(maps) - expected).detach() for part in (2, 4))
    torch.testing.assert_close(quarter[:, 2:], torch.zeros(8, 6, 6, 6), atol=1e-5, rtol=0)
    assert 0 < quarter.square().mean() < half.square().mean()
    layers = [layer for layer in build("resnet18", "a/4").modules() if isinstance(layer, IBN)]
    assert [layer.IN.num_features for layer in layers] == [16, 16, 32, 32, 64, 64]


def test_ibn_a_ignores_the_contrast_of_one_picture_in_its_first_half() -> None:
    layer = IBN(nn.BatchNorm2d(4)).eval()
    maps = torch.rand(1, 4, 6, 6) + 1.0
    torch.testing.assert_close(layer(maps * 7.0)[:, :2], layer(maps)[:, :2], atol=1e-3, rtol=1e-3)


def test_ibn_b_normalises_after_the_addition_and_before_the_activation() -> None:
    backbone = build("resnet18", "b").eval()
    plain = timm.create_model("resnet18", num_classes=0, global_pool="").eval()
    block = backbone.layer2[-1]
    reference = plain.layer2[-1]
    reference.load_state_dict({key: value for key, value in block.state_dict().items() if not key.startswith("IN.")})
    reference.act2 = torch.nn.Identity()
    maps = torch.rand(2, 128, 6, 6)
    with torch.no_grad():
        expected = functional.relu(functional.instance_norm(reference(maps.clone())))
        torch.testing.assert_close(block(maps.clone()), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_gradients_reach_every_parameter_and_a_copy_is_independent(variant: str) -> None:
    backbone = build("resnet18", variant).train()
    twin = copy.deepcopy(backbone)
    backbone(torch.rand(2, 3, 48, 48)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert all(parameter.grad is None for parameter in twin.parameters())


@pytest.mark.parametrize(
    ("name", "variant"), [("resnext50_32x4d", "a"), ("seresnet18", "a"), ("seresnet18", "b"), ("resnet26d", "b")]
)
def test_other_members_of_the_family(name: str, variant: str) -> None:
    with torch.no_grad():
        assert build(name, variant).eval()(torch.rand(1, 3, 64, 64)).shape[2:] == (2, 2)


def test_networks_without_batch_norm_or_residual_stages_are_refused() -> None:
    with torch.device("meta"), pytest.raises(ReIDError, match=r"VGG.*model\.ibn=null"):
        build("vgg11", "a")
    with torch.device("meta"), pytest.raises(ReIDError, match=r"got VisionTransformer; set model\.ibn=null"):
        build("vit_tiny_patch16_224", "a")
    for unknown in ("c", "a/3"):
        with pytest.raises(ReIDError, match=f"ibn='{unknown}' is unknown; expected 'a', 'a/4'"):
            build("resnet18", unknown)
