"""OSNet: torchreid's key names, its blocks against their formulas, and files in torchreid's form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models import group_parameters
from torch import Tensor
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models.backbones import build_backbone, output_format
from reid_lightning.models.osnet import OSNETS, ChannelGate, OmniScaleBlock, OSNet, build_osnet

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def conv(prefix: str, *, norm: tuple[str, ...] = BATCH_NORM) -> set[str]:
    return {f"{prefix}.conv.weight"} | {f"{prefix}.bn.{part}" for part in norm}


def light_conv(prefix: str) -> set[str]:
    return {f"{prefix}.conv1.weight", f"{prefix}.conv2.weight"} | {f"{prefix}.bn.{part}" for part in BATCH_NORM}


def torchreid_keys(name: str) -> set[str]:
    """The keys of torchreid's network up to its pooling, written down by hand as a rule."""
    ain = "_ain_" in name
    instance = ("weight", "bias")
    keys = conv("conv1", norm=instance if ain or "_ibn_" in name else BATCH_NORM) | conv("conv5")
    for stage in (2, 3, 4):
        for block in (0, 1):
            at = f"conv{stage}.{block}"
            inside = ain and (stage, block) in {(2, 0), (2, 1), (3, 1), (4, 0)}
            keys |= conv(f"{at}.conv1") | conv(f"{at}.conv3", norm=() if inside else BATCH_NORM)
            for depth in (1, 2, 3, 4):
                for layer in range(depth):
                    letter = f"conv2{'abcd'[depth - 1]}"
                    plain = f"{at}.{letter}.{layer}" if depth > 1 else f"{at}.{letter}"
                    keys |= light_conv(f"{at}.conv2.{depth - 1}.layers.{layer}" if ain else plain)
            keys |= {f"{at}.gate.{layer}.{part}" for layer in ("fc1", "fc2") for part in ("weight", "bias")}
            if block == 0:
                keys |= conv(f"{at}.downsample")
            if inside or ("_ibn_" in name and stage == 2):
                keys |= {f"{at}.IN.{part}" for part in instance}
        if stage < 4:
            keys |= conv(f"pool{stage}.0" if ain else f"conv{stage}.2.0")
    return keys


SIZES = {  # channels of stem and stages, parameters in millions
    "x1_0": ((64, 256, 384, 512), 1.906),
    "x0_75": ((48, 192, 288, 384), 1.088),
    "x0_5": ((32, 128, 192, 256), 0.497),
    "x0_25": ((16, 64, 96, 128), 0.135),
}


@pytest.mark.parametrize("name", list(OSNETS))
def test_keys_widths_and_sizes_are_torchreids(name: str) -> None:
    widths, millions = SIZES[name.removeprefix("osnet_").removeprefix("ibn_").removeprefix("ain_")]
    network = build_osnet(name)
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 48)).shape == (1, widths[-1], 2, 3)
    assert set(network.state_dict()) == torchreid_keys(name)
    stages = (network.conv2, network.conv3, network.conv4)
    assert (network.conv1.conv.out_channels, *(stage[1].conv3.conv.out_channels for stage in stages)) == widths
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=2e-3)


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Weights, biases and statistics of norms away from one and zero, so that each of them counts."""
    for value in module.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5)
    return module.eval()


def batch_norm(maps: Tensor, norm: torch.nn.BatchNorm2d) -> Tensor:
    mean, deviation = norm.running_mean, (norm.running_var + 1e-5).sqrt()
    scale, shift = norm.weight / deviation, norm.bias - mean * norm.weight / deviation
    return maps * scale[:, None, None] + shift[:, None, None]


def instance_norm(maps: Tensor, norm: torch.nn.InstanceNorm2d) -> Tensor:
    mean, variance = maps.mean(dim=(2, 3), keepdim=True), maps.var(dim=(2, 3), correction=0, keepdim=True)
    return (maps - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("norm", [None, "after", "inside"])
@pytest.mark.parametrize("came", [32, 64])
def test_a_block_is_its_formula(norm: str | None, came: int) -> None:
    torch.manual_seed(0)
    block = shaken(OmniScaleBlock(came, 64, norm=norm, numbered=norm == "inside"))
    maps = torch.randn(2, came, 5, 7)
    numbered = norm == "inside"
    with torch.no_grad():
        narrow = batch_norm(functional.conv2d(maps, block.conv1.conv.weight), block.conv1.bn).relu()
        fused = torch.zeros_like(narrow)
        for number, depth in enumerate((1, 2, 3, 4)):
            stream = narrow
            for layer in range(depth):
                light = (
                    block.conv2[number].layers[layer]
                    if numbered
                    else [[block.conv2a], block.conv2b, block.conv2c, block.conv2d][number][layer]
                )
                across = functional.conv2d(stream, light.conv1.weight)
                within = functional.conv2d(across, light.conv2.weight, padding=1, groups=16)
                stream = batch_norm(within, light.bn).relu()
            mean = stream.mean(dim=(2, 3))
            hidden = (mean @ block.gate.fc1.weight[:, :, 0, 0].T + block.gate.fc1.bias).relu()
            gates = (hidden @ block.gate.fc2.weight[:, :, 0, 0].T + block.gate.fc2.bias).sigmoid()
            fused += stream * gates[:, :, None, None]
        residual = functional.conv2d(fused, block.conv3.conv.weight)
        residual = instance_norm(residual, block.IN) if numbered else batch_norm(residual, block.conv3.bn)
        shortcut = maps
        if came != 64:
            shortcut = batch_norm(functional.conv2d(maps, block.downsample.conv.weight), block.downsample.bn)
        total = residual + shortcut
        expected = (instance_norm(total, block.IN) if norm == "after" else total).relu()
        torch.testing.assert_close(block(maps), expected, atol=1e-5, rtol=1e-4)


def test_a_gate_weighs_channels_by_hand() -> None:
    gate = ChannelGate(16)
    for parameter in gate.parameters():
        torch.nn.init.zeros_(parameter)
    gate.fc1.weight.data[0, 0] = 1.0
    gate.fc2.weight.data[1, 0] = 2.0
    maps = torch.zeros(1, 16, 1, 2)
    maps[0, 0, 0] = torch.tensor([1.0, 3.0])  # mean 2, so channel 1 gets sigmoid(4), the others sigmoid(0)
    maps[0, 1, 0] = torch.tensor([10.0, -10.0])
    result = gate(maps)[0, :, 0]
    torch.testing.assert_close(result[0], torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(result[1], torch.tensor([9.8201379, -9.8201379]))


def test_streams_see_3_5_7_and_9_pixels() -> None:
    block = OmniScaleBlock(64, 64).eval()
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    picture = torch.zeros(1, 16, 15, 15)
    picture[..., 7, 7] = 1.0
    background = torch.zeros_like(picture)
    for stream, extent in zip((block.conv2a, block.conv2b, block.conv2c, block.conv2d), (3, 5, 7, 9), strict=True):
        with torch.no_grad():
            seen = (stream(picture) - stream(background))[0, 0].ne(0)
        assert seen.any(dim=0).sum() == seen.any(dim=1).sum() == extent


@pytest.mark.parametrize("norm", [None, "after", "inside"])
def test_every_parameter_learns_and_the_layers_have_an_order(norm: str | None) -> None:
    torch.manual_seed(0)
    network = OSNet(0.25, norm=norm).train()
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert [key for key, value in network.named_parameters() if value.grad is None] == []
    layers = group_parameters(network, network.group_matcher())
    assert len(layers) == 7  # the stem and three stages of two blocks
    assert all(name.startswith("conv1") for name in layers[0])
    assert any(name.startswith("conv5") for name in layers[6])
    assert len(group_parameters(network, network.group_matcher(coarse=True))) == 4


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_of_torchreid_loads_and_its_last_part_is_named(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(1)
    weights = build_osnet("osnet_x0_25").state_dict()
    theirs = weights | {
        "fc.0.weight": torch.rand(512, 128),
        "fc.0.bias": torch.rand(512),
        **{f"fc.1.{part}": torch.rand(512) for part in BATCH_NORM[:4]},
        "classifier.weight": torch.rand(576, 512),
        "classifier.bias": torch.rand(576),
    }
    content = {
        "state_dict": {prefix + key: value for key, value in theirs.items()},
        "epoch": 60,
        "rank1": np.float64(0.951),
        "optimizer": {"state": {}, "param_groups": []},
    }
    torch.save(content, tmp_path / "model.pth.tar-60")
    backbone = build_backbone("osnet_x0_25", ibn=None, last_stride=2, pretrained=str(tmp_path / "model.pth.tar-60"))
    assert all(torch.equal(value, weights[key]) for key, value in backbone.state_dict().items())
    report = backbone.weights_report
    assert report.missing == () and report.classifier == ("classifier.weight", "classifier.bias")
    assert {key.rsplit(".", 1)[0] for key in report.unused} == {"fc.0", "fc.1"} and len(report.unused) == 6


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    torch.save(build_osnet("osnet_x0_25").state_dict(), tmp_path / "x0_25.pth")
    with pytest.raises(ReIDError, match=r"x0_25\.pth is for another network; shapes differ: conv1\.conv\.weight"):
        build_backbone("osnet_x0_5", ibn=None, last_stride=2, pretrained=str(tmp_path / "x0_25.pth"))


def test_a_backbone_of_that_name_gives_maps_and_takes_no_other_options() -> None:
    backbone = build_backbone("osnet_ain_x0_25", ibn=None, last_stride=2, pretrained=None)
    assert (output_format(backbone).layout, output_format(backbone).dim) == ("NCHW", 128)
    assert backbone.weights_report is None
    for options in ({"ibn": "a"}, {"last_stride": 1}):
        arguments = {"ibn": None, "last_stride": 2, "pretrained": None} | options
        with pytest.raises(
            ReIDError, match=r"'osnet_x0_25' with ibn=.*OSNets are taken as they are; set model\.ibn=null"
        ):
            build_backbone("osnet_x0_25", **arguments)
    for source in ("timm", "torchvision"):
        with pytest.raises(ReIDError, match=r"neither library has; download .* set model\.pretrained=<file>"):
            build_backbone("osnet_x0_25", ibn=None, last_stride=2, pretrained=source)
    with pytest.raises(ReIDError, match=r"did you mean .*osnet_x1_0"):
        build_backbone("osnet_x1", ibn=None, last_stride=2, pretrained=None)
