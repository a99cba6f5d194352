"""Maps of several depths of a network: early ones keep the colours and shapes that the last one has forgotten."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError, first_line, shortened
from reid_lightning.models.pooling import build_pooling

_SIZE = 64


class LevelPool(nn.Module):
    """Maps of several levels [(B, C_l, H_l, W_l)] to one vector (B, sum C_l): each pooled and scaled to length 1.

    `pooling` as in `build_pooling`, with weights of its own for each level.
    """

    def __init__(self, pooling: str, *, levels: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(build_pooling(pooling, layout="NCHW") for _ in range(levels))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        pooled = [pool(level) for pool, level in zip(self.pools, maps, strict=True)]
        return torch.cat([functional.normalize(vector, dim=1) for vector in pooled], dim=1)


def maps_of_levels(backbone: Any, images: Tensor, levels: Sequence[int]) -> list[Tensor]:
    """Images (B, 3, H, W) to the maps of `levels` [(B, C_l, H_l, W_l)], as timm's `forward_intermediates` counts them:
    0 is the stem, then come the stages (of a ResNet, a ConvNeXt, an EfficientNet with each of its seven)."""
    maps: list[Tensor] = backbone.forward_intermediates(
        images, indices=list(levels), stop_early=True, intermediates_only=True, **_every_stage(backbone)
    )
    return maps


def cut_after(backbone: Any, levels: Sequence[int]) -> list[int]:
    """Take what lies behind the last of `levels` out of `backbone`, in place; the channels C_l of each level.

    Raises ReIDError for networks whose maps in between cannot be had, and for levels that are not in rising order.
    """
    numbers = [] if isinstance(levels, str) or not isinstance(levels, Sequence) else list(levels)
    whole = all(type(level) is int and level >= 0 for level in numbers)
    if not numbers or not whole or numbers != sorted({*numbers}):
        raise ReIDError(
            f"levels={shortened(levels)}: expected numbers of stages in rising order, such as [4, 5, 6, 7], or null"
        )
    if not hasattr(backbone, "forward_intermediates") or not hasattr(backbone, "prune_intermediate_layers"):
        raise ReIDError(
            f"levels={shortened(numbers)} needs a timm network that gives its maps in between, and the backbone is a "
            f"{type(backbone).__name__}; set model.levels=null"
        )
    try:
        backbone.prune_intermediate_layers(numbers, **_every_stage(backbone))
        with torch.no_grad():
            maps = maps_of_levels(backbone.eval(), torch.zeros(1, 3, _SIZE, _SIZE), numbers)
    except (AssertionError, IndexError, RuntimeError, ValueError) as error:
        raise ReIDError(
            f"levels={shortened(numbers)}: this {type(backbone).__name__} does not have them all "
            f"({first_line(error)}); 0 is its stem, 1 its first stage"
        ) from error
    backbone.train()
    return [level.shape[1] for level in maps]


def _every_stage(backbone: Any) -> dict[str, bool]:
    """timm counts an EfficientNet's stages by their size of map unless it is asked for each of them."""
    has = "extra_blocks" in inspect.signature(backbone.forward_intermediates).parameters
    return {"extra_blocks": True} if has else {}
