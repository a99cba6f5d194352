"""Backbones of several families: what they put out, their last stride, and the errors of wrong choices."""

from __future__ import annotations

import pytest
import timm
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.models.backbones import build_backbone, output_format
from reid_lightning.models.pooling import build_pooling


def plain(name: str, *, last_stride: int = 2, ibn: str | None = None) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_backbone(name, ibn=ibn, last_stride=last_stride, pretrained=None)


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "resnetblur18", "resnetaa34d", "seresnet18"])
def test_last_stride_1_doubles_the_map_and_keeps_the_weights(name: str) -> None:
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        strided, dense = plain(name).eval(), plain(name, last_stride=1).eval()
        assert dense.state_dict().keys() == strided.state_dict().keys()
        assert strided(images).shape[2:] == (2, 3)
        assert dense(images).shape[2:] == (4, 6)


@pytest.mark.parametrize(
    ("name", "layout", "dim"),
    [
        ("resnet18", "NCHW", 512),
        ("mobilenetv3_small_050", "NCHW", 1024),
        ("vit_tiny_patch16_224", "NLC", 192),
        ("swin_tiny_patch4_window7_224", "NHWC", 768),
        ("mixer_s32_224", "NLC", 512),
        ("efficientvit_b0", "NC", 1280),
        ("vit_tiny_patch16_dinov3_qkvb", "NLC", 192),
        ("osnet_x0_25", "NCHW", 128),
        ("torchvision/mobilenet_v3_small.features", "NCHW", 576),
    ],
)
def test_output_format_of_several_families(name: str, layout: str, dim: int) -> None:
    backbone = plain(name).train()
    found = output_format(backbone)
    assert (found.layout, found.dim) == (layout, dim)
    assert found.has_class_token == name.startswith("vit")
    assert backbone.weights_report is None
    assert backbone.training


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("test_vit", "token"),
        ("vit_tiny_patch16_dinov3_qkvb", "token"),  # behind the class token come four registers
        ("test_vit2", "avg"),  # a register and no class token: the mean of the patches
        ("test_vit3", "map"),  # attention with weights of its own
    ],
)
def test_tokens_are_pooled_as_timm_does(name: str, pooling: str) -> None:
    """The class token where there is one, and what else its weights were trained to pool elsewhere."""
    backbone = plain(name).eval()
    found = output_format(backbone)
    reference = timm.create_model(name, num_classes=0, global_pool=pooling, dynamic_img_size=True).eval()
    reference.load_state_dict(backbone.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = build_pooling("gem", layout=found.layout, has_class_token=found.has_class_token)(backbone(images))
        torch.testing.assert_close(output, reference(images))


def test_dinov2_puts_its_class_token_before_its_registers_and_takes_multiples_of_14() -> None:
    with torch.device("meta"):
        backbone = plain("vit_small_patch14_reg4_dinov2").eval()
        assert output_format(backbone).has_class_token
        assert backbone(torch.zeros(1, 3, 252, 252)).shape == (1, 1 + 4 + 18 * 18, 384)
        with pytest.raises(AssertionError, match="divisible by patch size"):
            backbone(torch.zeros(1, 3, 256, 256))


def test_residual_branches_start_alive() -> None:
    backbone = plain("resnet18", ibn="a")
    assert all(block.bn2.weight.detach().eq(1.0).all() for block in (*backbone.layer1, *backbone.layer4))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("vit_tiny_patch16_224", (1, 1 + 4 * 6, 192)), ("swin_tiny_patch4_window7_224", (1, 2, 3, 768))],
)
def test_transformers_take_another_picture_size(name: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert plain(name).eval()(torch.zeros(1, 3, 64, 96)).shape == shape


def test_last_stride_of_a_network_that_has_none_is_an_error() -> None:
    with pytest.raises(ReIDError, match=r"MobileNetV3; set model\.last_stride=2"):
        plain("mobilenetv3_small_050", last_stride=1)
    with pytest.raises(ReIDError, match="last_stride=3: expected 1 or 2"):
        plain("resnet18", last_stride=3)


def test_unknown_names_come_back_with_close_ones() -> None:
    with pytest.raises(ReIDError, match=r"backbone='resnet5O' is no timm network; did you mean .*resnet50"):
        plain("resnet5O")
    with pytest.raises(ReIDError, match=r"timm\.list_models\(\)"):
        plain("???")
