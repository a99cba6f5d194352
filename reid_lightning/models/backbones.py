"""Builds a backbone without a classifier: timm's networks, with IBN and last stride as asked, torchvision's, OSNet."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.layers.blur_pool import BlurPool2d
from timm.models import is_model_in_modules
from timm.models.resnet import ResNet
from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.ibn import apply_ibn
from reid_lightning.models.osnet import OSNETS, build_osnet
from reid_lightning.models.pretrained import MatchReport, find_weights, load_matching
from reid_lightning.models.published import TIMM, TORCHVISION, create_with_timm_weights
from reid_lightning.models.torchvision_networks import PREFIX, build_torchvision, is_torchvision, torchvision_names

logger = logging.getLogger(__name__)

# timm starts every residual branch at zero, for long trainings; short ones from random weights get nowhere with that
# (200 steps on the real two-camera pictures: mAP 37 with it, 66 without). Loaded weights overwrite either.
_RESNETS = ("resnet",)
_FORMAT_SIZE = 224  # divides by every patch size of a network that takes any size


def build_backbone(name: str, *, ibn: str | None, last_stride: int, pretrained: str | None) -> nn.Module:
    """The network `name`, from images (B, 3, H, W) to maps (B, C, H', W'), tokens (B, N, C) or vectors (B, C).

    `name`: timm's; "torchvision/<name>" for torchvision's network up to its last linear layer; or one of `OSNETS`. The
    last two take neither `ibn` nor `last_stride` 1. `ibn`: "a", "a/4", "b" or None, see `apply_ibn`; weights of a plain
    network are loaded first, so that they are carried into the IBN network.
    `last_stride`: 2 leaves the network as it is; 1 keeps the resolution in the last stage of a ResNet, twice the map in
    both directions. `pretrained`: "timm" or see `find_weights`; `weights_report` of the network then says what
    matched, a `MatchReport`, and is None otherwise.
    Raises ReIDError for an unknown name (with close matches), an option that the network lacks, or missing weights.
    """
    if last_stride not in (1, 2):
        raise ReIDError(f"last_stride={last_stride!r}: expected 1 or 2")
    backbone: Any
    if is_torchvision(name):
        _check_as_it_is(name, "torchvision's networks", ibn=ibn, last_stride=last_stride)
        if pretrained == TIMM:
            raise ReIDError(f"pretrained='timm' with backbone={name!r}; set model.pretrained=torchvision")
        backbone = build_torchvision(name)
    elif name in OSNETS:
        _check_as_it_is(name, "OSNets", ibn=ibn, last_stride=last_stride)
        if pretrained in (TIMM, TORCHVISION):
            raise ReIDError(
                f"pretrained={pretrained!r} with backbone={name!r}, which neither library has; download a file of "
                "torchreid's model zoo by hand and set model.pretrained=<file>"
            )
        backbone = build_osnet(name)
    else:
        backbone = _timm_backbone(name, last_stride=last_stride, pretrained=pretrained)
    weights = None if pretrained == TIMM else find_weights(pretrained, name=name, ibn=ibn)
    if ibn is not None and (weights is None or weights.with_ibn) and pretrained != TIMM:
        apply_ibn(backbone, ibn)
    report: MatchReport | None = None
    if pretrained == TIMM:
        origin = f"{TIMM}/{name.split('.')[0]}.{backbone.pretrained_cfg['tag']}"
        report = MatchReport(source=TIMM, origin=origin, loaded=tuple(backbone.state_dict()))
        logger.info("%s", report)
    elif weights is not None:
        report = load_matching(backbone, weights.state, origin=weights.origin, source=weights.source)
    if ibn is not None and report is not None and not (weights and weights.with_ibn):
        apply_ibn(backbone, ibn, trained=True)
    backbone.weights_report = report
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
    if getattr(backbone, "dynamic_img_size", False):  # DINOv2's own size, 518, would take seconds
        height = width = _FORMAT_SIZE
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        shape = backbone(torch.zeros(1, 3, height, width)).shape
    backbone.train(was_training)
    if len(shape) == 2:
        return OutputFormat("NC", shape[1])
    if len(shape) == 3:
        return OutputFormat("NLC", shape[2], has_class_token=_has_class_token(backbone))
    if shape[3] == getattr(backbone, "num_features", None) != shape[1]:
        return OutputFormat("NHWC", shape[3])
    return OutputFormat("NCHW", shape[1])


def _check_as_it_is(name: str, which: str, *, ibn: str | None, last_stride: int) -> None:
    if ibn is not None or last_stride != 2:
        raise ReIDError(
            f"backbone={name!r} with ibn={ibn!r} and last_stride={last_stride}: {which} are taken as they are; set "
            "model.ibn=null and model.last_stride=2, or choose a timm ResNet, which can have both"
        )


def _timm_backbone(name: str, *, last_stride: int, pretrained: str | None) -> nn.Module:
    if not timm.is_model(name):
        theirs = [PREFIX + name] if name in torchvision_names() else []
        close = theirs + difflib.get_close_matches(name, [*OSNETS, *timm.list_models()], n=5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them all"
        raise ReIDError(f"backbone={name!r} is no timm network; {hint}")
    if pretrained == TORCHVISION:
        raise ReIDError(
            f"pretrained='torchvision' with backbone={name!r}, which is timm's; set model.pretrained=timm, or take "
            f"torchvision's network with model.backbone={PREFIX}<name>"
        )
    backbone, arguments = _create(name)
    if pretrained == TIMM:
        backbone = create_with_timm_weights(name, backbone.pretrained_cfg, arguments)
    if last_stride == 1:
        _keep_last_resolution(backbone, name)
    return backbone


def _create(name: str) -> tuple[Any, dict[str, Any]]:
    """The network with random weights and the arguments that made it: without pooling, unless its weights need it.

    Tokens of a network whose class token is not what its weights were trained to pool (mean with a norm of its own,
    attention, registers without a class token) are pooled by timm.
    """
    base: dict[str, Any] = {"num_classes": 0}
    if is_model_in_modules(name, _RESNETS):
        base["zero_init_last"] = False
    any_size = base | {"dynamic_img_size": True}  # unknown to networks that take any size anyway, and to some others
    errors = []
    for pooled in (any_size, base):
        for arguments in (pooled | {"global_pool": ""}, pooled):
            try:
                backbone = timm.create_model(name, **arguments)
            except Exception as error:  # families refuse in their own ways: TypeError, ValueError, AssertionError
                errors.append(str(error))
                continue
            if arguments is pooled or _suits_our_pooling(backbone, name, pooled):
                return backbone, arguments
    raise ReIDError(f"backbone={name!r}: timm cannot build it as a backbone: {errors[-1]} ({errors[0]})")


def _suits_our_pooling(backbone: nn.Module, name: str, pooled: dict[str, Any]) -> bool:
    tokens_before_patches = getattr(backbone, "num_prefix_tokens", None)
    if tokens_before_patches is None:  # maps, or tokens of patches alone
        return True
    if tokens_before_patches and not _has_class_token(backbone):
        return False
    with torch.device("meta"):  # costs nothing
        return timm.create_model(name, **pooled).state_dict().keys() == backbone.state_dict().keys()


def _has_class_token(backbone: nn.Module) -> bool:
    return getattr(backbone, "cls_token", None) is not None


def _keep_last_resolution(backbone: nn.Module, name: str) -> None:
    """Sets the stride of a ResNet's last stage to 1: its convolutions, shortcut and anti-alias layers."""
    if not isinstance(backbone, ResNet):
        raise ReIDError(
            f"last_stride=1 needs a timm ResNet, and {name!r} is a {type(backbone).__name__}; set model.last_stride=2"
        )
    last: Any = backbone.layer4
    block = last[0]
    block.stride = 1
    for module in list(block.modules()):
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif isinstance(module, BlurPool2d):
            module.stride = 1
        for child_name, child in module.named_children():
            if isinstance(child, nn.AvgPool2d) and child.stride in (2, (2, 2)):
                setattr(module, child_name, nn.Identity())
