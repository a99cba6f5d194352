"""IBN-a and IBN-b for timm's convolutional networks, made by replacing norm layers of the finished network.

Source: Pan et al., "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018. Parameter
names of ResNets are those of the published weights, so that they load by key. Weights that a plain network has are
carried over: affine parameters stay with their channels, and so do the statistics of those that keep batch norm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.ibn_norm import instance_batch_norm, norm_with_known_statistics
from reid_lightning.models.layers import ordered_layers

IBN_VARIANTS = ("a", "a/4", "b")


class IBN(nn.Module):
    """Instance norm on the first half (or 1 / `part`) of the channels, batch norm on the rest; (B, C, H, W) as it was.

    Instance norm drops what is particular to a picture (light, colour cast), batch norm keeps what tells vehicles
    apart. On a CPU both are computed in one pass: torch's instance norm, which copies its input, took eight times as
    long, and half of a training step of an EfficientNet.
    """

    def __init__(self, norm: nn.BatchNorm2d, *, part: int = 2) -> None:
        """Takes the place of `norm`, and of the activation that timm has put into some."""
        super().__init__()
        count = norm.num_features // part
        self.IN = nn.InstanceNorm2d(count, eps=norm.eps, affine=True)
        self.BN = nn.BatchNorm2d(norm.num_features - count, eps=norm.eps, momentum=norm.momentum)
        self.act = getattr(norm, "act", nn.Identity())
        carried = norm.state_dict()
        self.IN.load_state_dict({key: carried[key][:count] for key in ("weight", "bias")})
        self.BN.load_state_dict({key: value[count:] if value.ndim else value for key, value in carried.items()})

    def forward(self, maps: Tensor) -> Tensor:
        return self.act(self._in_one_pass(maps) if self._gains(maps) else self._in_two_halves(maps))

    def _gains(self, maps: Tensor) -> bool:
        plain = type(self.BN) is nn.BatchNorm2d and self.BN.momentum is not None  # not one that sees other ranks
        exact = maps.dtype in (torch.float32, torch.float64)
        return maps.device.type == "cpu" and plain and exact and not torch.compiler.is_compiling()

    def _in_two_halves(self, maps: Tensor) -> Tensor:
        instance, batch = maps.split((self.IN.num_features, self.BN.num_features), dim=1)
        return torch.cat((self.IN(instance), self.BN(batch)), dim=1)

    def _in_one_pass(self, maps: Tensor) -> Tensor:
        weight, bias = torch.cat((self.IN.weight, self.BN.weight)), torch.cat((self.IN.bias, self.BN.bias))
        instance, norm = self.IN.num_features, cast(Any, self.BN)
        if not norm.training:
            known = norm.running_mean, norm.running_var
            return norm_with_known_statistics(maps, weight, bias, *known, instance=instance, eps=norm.eps)
        normed, mean, variance = instance_batch_norm(maps, weight, bias, instance=instance, eps=norm.eps)
        self._follow(mean, variance, count=maps.numel() // maps.shape[1])
        return normed

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        """The running statistics of the batch norm, as it keeps them itself."""
        norm: Any = self.BN
        if norm.num_batches_tracked is not None:  # None: not to be counted now
            norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / max(1, count - 1)), norm.momentum)


class InstanceNormAct(nn.InstanceNorm2d):
    """Instance norm in the place of a batch norm, with its affine parameters and its activation."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, eps=norm.eps, affine=True)
        self.act = getattr(norm, "act", nn.Identity())
        self.load_state_dict({key: norm.state_dict()[key] for key in ("weight", "bias")})

    def forward(self, input: Tensor) -> Tensor:
        return self.act(super().forward(input))


class _NormAfterAddition:
    """Turns a residual block into IBN-b's: instance norm between the addition and the last activation.

    The block's own last activation is an identity by then, and its `last_activation` follows the norm.
    """

    IN: nn.InstanceNorm2d
    last_activation: nn.Module

    def forward(self, maps: Tensor) -> Tensor:
        return self.last_activation(self.IN(super().forward(maps)))  # type: ignore[misc]  # of the block that it is mixed into


@cache
def _with_norm_after_addition(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"{kind.__name__}IBNb", (_NormAfterAddition, kind), {})


def apply_ibn(backbone: nn.Module, variant: str, *, trained: bool = False) -> None:
    """Makes an IBN network of a timm network with batch norms, in place. `trained`: its weights go on as they are.

    `variant` "a": the first norm of every block becomes `IBN`, but for blocks with the smallest maps (a ResNet's
    layer4). "a/4": the same with instance norm on a quarter of the channels, which disturbs trained weights less. "b":
    the stem's norm becomes an instance norm, and the last block with maps of a quarter, and of an eighth, of the
    picture gets an instance norm `IN` after its addition.
    Raises ReIDError for another variant and for a network without such norms and blocks.
    """
    if variant not in IBN_VARIANTS:
        raise ReIDError(f"ibn={variant!r} is unknown; expected 'a', 'a/4', 'b' or null (no IBN)")
    (_, stem), *blocks = _blocks(backbone)
    if variant != "b":
        kind = partial(IBN, part=int(variant.removeprefix("a/"))) if "/" in variant else IBN
        for reduction, block in blocks:
            if reduction < blocks[-1][0]:
                _replace(backbone, _batch_norms(backbone, block)[0], kind)
        return
    _replace(backbone, _batch_norms(backbone, stem)[-1], InstanceNormAct)
    for quarter_or_eighth in (4, 8):
        stage = [block for reduction, block in blocks if reduction == quarter_or_eighth]
        _add_norm_after_addition(backbone, stage, trained=trained)


def _blocks(backbone: Any) -> list[tuple[int, list[str]]]:
    """The stem and the blocks: how many times smaller than the picture their maps are, and their parameters' names."""
    info = getattr(backbone, "feature_info", None)
    if not info or not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()):
        raise ReIDError(
            "ibn needs a convolutional timm network with batch norms (resnet50, seresnet50, tf_efficientnet_lite0, "
            f"mobilenetv3_large_100, ...), got {type(backbone).__name__}; set model.ibn=null for this backbone"
        )
    ends = [(f"{each['module']}.", each["reduction"]) for each in info]
    reached = 0
    blocks: list[tuple[int, list[str]]] = []
    for names in ordered_layers(backbone):
        here = [position for position, (end, _) in enumerate(ends) if any(name.startswith(end) for name in names)]
        following = min(reached + 1, len(ends) - 1) if blocks else 0
        blocks.append((ends[here[-1] if here else following][1], names))
        reached = here[-1] if here else reached
    return blocks


def _batch_norms(backbone: nn.Module, names: list[str]) -> list[str]:
    """Where the batch norms among these parameters are."""
    places = dict.fromkeys(name.rpartition(".")[0] for name in names)
    found = [place for place in places if isinstance(backbone.get_submodule(place), nn.BatchNorm2d)]
    if not found:
        raise ReIDError(
            f"ibn: a block of this {type(backbone).__name__} has no batch norm ({names[0]}); set model.ibn=null"
        )
    return found


def _replace(backbone: nn.Module, place: str, kind: Callable[[Any], nn.Module]) -> None:
    norm: Any = backbone.get_submodule(place)
    backbone.set_submodule(place, kind(norm))


def _add_norm_after_addition(backbone: nn.Module, stage: list[list[str]], *, trained: bool) -> None:
    """`stage`: parameters' names of its blocks. The last batch norm of each says mean and deviation of what the block
    adds; in a `trained` network the new norm starts with those of the sum, so that it goes on with numbers it knows."""
    blocks: list[Any] = [backbone.get_submodule(_module_of(names)) for names in stage]
    block: Any = blocks[-1] if blocks else None
    last = "bn3" if hasattr(block, "bn3") else "bn2"
    norms: list[Any] = [getattr(block, last, None) for block in blocks]
    if not blocks or not all(isinstance(norm, nn.BatchNorm2d) for norm in norms):
        raise ReIDError(
            f"ibn='b' needs blocks that end in an addition, as ResNets, MobileNets and EfficientNets have; got "
            f"{type(block).__name__}; set model.ibn=a or null for this backbone"
        )
    block.IN = nn.InstanceNorm2d(norms[-1].num_features, affine=True)
    block.last_activation = nn.Identity()
    activation = f"act{last[-1]}"
    if hasattr(block, activation):  # a ResNet's, after the addition; others end without one
        block.last_activation = getattr(block, activation)
        setattr(block, activation, nn.Identity())
    if trained:
        scales = torch.stack([norm.weight.detach() for norm in norms])
        block.IN.weight.data = torch.linalg.vector_norm(scales, dim=0)
        block.IN.bias.data = sum(norm.bias.detach() for norm in norms)
    # timm's forward stays the single description of the block; a wrapper module would rename every weight in it.
    kind: Any = type(block)
    block.__class__ = _with_norm_after_addition(kind)


def _module_of(names: list[str]) -> str:
    """The module that all these parameters are in."""
    parts = [name.split(".") for name in names]
    common = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return ".".join(common[: min(len(name) for name in parts) - 1])
