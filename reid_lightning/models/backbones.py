"""Builds a backbone without a classifier: any timm network, with IBN and the last stride as asked, or torchvision's."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import timm
import torch
from timm.layers import BlurPool2d
from timm.models import is_model_in_modules
from timm.models.resnet import ResNet
from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.ibn import apply_ibn
from reid_lightning.models.pretrained import TIMM, TORCHVISION, load_pretrained, timm_weights_error
from reid_lightning.models.torchvision_networks import PREFIX, build_torchvision, is_torchvision, torchvision_names

# timm's families that take another picture size than the one in their name only when told so at construction.
_ANY_SIZE_ON_DEMAND = ("vision_transformer", "deit", "eva")
# timm starts every residual branch at zero, for long trainings; short ones from random weights get nowhere with that
# (200 steps on the real two-camera pictures: mAP 37 with it, 66 without). Loaded weights overwrite either.
_RESNETS = ("resnet",)


def build_backbone(name: str, *, ibn: str | None, last_stride: int, pretrained: str | None) -> nn.Module:
    """The network `name`, from images (B, 3, H, W) to maps (B, C, H', W'), tokens (B, N, C) or vectors (B, C).

    `name`: timm's, or "torchvision/<name>" for torchvision's network up to its last linear layer, which takes neither
    `ibn` nor `last_stride` 1. `ibn`: "a", "b" or None (ResNets only). `last_stride`: 2 leaves the network as it is; 1
    keeps the resolution in the last stage of a ResNet, twice the map in both directions. `pretrained`: see
    `load_pretrained`.
    Raises ReIDError for an unknown name (with close matches), an option that the network lacks, or missing weights.
    """
    if last_stride not in (1, 2):
        raise ReIDError(f"last_stride={last_stride!r}: expected 1 or 2")
    if is_torchvision(name):
        return _torchvision_backbone(name, ibn=ibn, last_stride=last_stride, pretrained=pretrained)
    if not timm.is_model(name):
        theirs = [PREFIX + name] if name in torchvision_names() else []
        close = theirs + difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them all"
        raise ReIDError(f"backbone={name!r} is no timm network; {hint}")
    if pretrained == TORCHVISION:
        raise ReIDError(
            f"pretrained='torchvision' with backbone={name!r}, which is timm's; set model.pretrained=timm, or take "
            f"torchvision's network with model.backbone={PREFIX}<name>"
        )
    if pretrained == TIMM and ibn is not None:
        raise ReIDError(
            f"pretrained='timm' with ibn={ibn!r}: timm has no IBN weights; set model.pretrained=ibn_net (the published "
            "ones), model.pretrained=<file>, model.pretrained=null or model.ibn=null"
        )
    backbone = _create(name, pretrained=pretrained == TIMM)
    if ibn is not None:
        apply_ibn(backbone, ibn)
    if last_stride == 1:
        _keep_last_resolution(backbone, name)
    if pretrained != TIMM:
        load_pretrained(backbone, pretrained, name=name, ibn=ibn)
    return backbone


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """What a backbone puts out: `layout` ("NCHW", "NHWC", "NLC" or "NC"), width, whether token 0 is the class."""

    layout: str
    dim: int
    has_class_token: bool = False


def output_format(backbone: nn.Module) -> OutputFormat:
    """Finds a backbone's output format by showing it one black picture of its own size, in evaluation mode."""
    _, height, width = getattr(backbone, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        shape = backbone(torch.zeros(1, 3, height, width)).shape
    backbone.train(was_training)
    if len(shape) == 2:
        return OutputFormat("NC", shape[1])
    if len(shape) == 3:
        return OutputFormat("NLC", shape[2], has_class_token=getattr(backbone, "cls_token", None) is not None)
    if shape[3] == backbone.num_features != shape[1]:
        return OutputFormat("NHWC", shape[3])
    return OutputFormat("NCHW", shape[1])


def _torchvision_backbone(name: str, *, ibn: str | None, last_stride: int, pretrained: str | None) -> nn.Module:
    if ibn is not None or last_stride != 2:
        raise ReIDError(
            f"backbone={name!r} with ibn={ibn!r} and last_stride={last_stride}: torchvision's networks are taken as "
            "they are; set model.ibn=null and model.last_stride=2, or choose a timm ResNet, which can have both"
        )
    if pretrained == TIMM:
        raise ReIDError(f"pretrained='timm' with backbone={name!r}; set model.pretrained=torchvision")
    backbone = build_torchvision(name)
    load_pretrained(backbone, pretrained, name=name, ibn=None)
    return backbone


def _create(name: str, *, pretrained: bool) -> nn.Module:
    backbone, arguments = _create_random(name)
    if not pretrained:
        return backbone
    try:
        return timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # each hub client raises its own kinds: httpx, requests, huggingface_hub, urllib
        raise timm_weights_error(name, error) from error


def _create_random(name: str) -> tuple[nn.Module, dict[str, object]]:
    """The network without pooling, or with its own where it cannot do without; and the arguments that made it."""
    base: dict[str, object] = {"num_classes": 0}
    if is_model_in_modules(name, _ANY_SIZE_ON_DEMAND):
        base["dynamic_img_size"] = True
    if is_model_in_modules(name, _RESNETS):
        base["zero_init_last"] = False
    unpooled = base | {"global_pool": ""}
    try:
        return timm.create_model(name, **unpooled), unpooled
    except Exception as error:  # families refuse in their own ways: ValueError, AssertionError, NotImplementedError
        refusal = error
    try:
        return timm.create_model(name, **base), base
    except Exception as error:
        raise ReIDError(f"backbone={name!r}: timm cannot build it as a backbone: {error} ({refusal})") from error


def _keep_last_resolution(backbone: nn.Module, name: str) -> None:
    """Sets the stride of a ResNet's last stage to 1: its convolutions, shortcut and anti-alias layers."""
    if not isinstance(backbone, ResNet):
        raise ReIDError(
            f"last_stride=1 needs a timm ResNet, and {name!r} is a {type(backbone).__name__}; set model.last_stride=2"
        )
    block = backbone.layer4[0]
    block.stride = 1
    for module in list(block.modules()):
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif isinstance(module, BlurPool2d):
            module.stride = 1
        for child_name, child in module.named_children():
            if isinstance(child, nn.AvgPool2d) and child.stride in (2, (2, 2)):
                setattr(module, child_name, nn.Identity())
