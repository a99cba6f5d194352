"""Gradient checkpointing: keeps the inputs of blocks only and computes the blocks again in the backward pass.

About a third more computing for a fraction of the memory; gradients and running statistics stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from timm.models import _efficientnet_blocks as efficientnet
from timm.models import densenet, resnet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision.models import densenet as torchvision_densenet
from torchvision.models import resnet as torchvision_resnet

from reid_lightning.errors import ReIDError
from reid_lightning.models.osnet import OmniScaleBlock

_BLOCKS = (
    resnet.BasicBlock,
    resnet.Bottleneck,
    densenet.DenseLayer,
    efficientnet.DepthwiseSeparableConv,
    efficientnet.EdgeResidual,
    efficientnet.InvertedResidual,
    torchvision_resnet.BasicBlock,
    torchvision_resnet.Bottleneck,
    torchvision_densenet._DenseLayer,
    OmniScaleBlock,
)


def checkpoint_gradients(backbone: nn.Module) -> None:
    """Turn gradient checkpointing on, in place; names of weights stay.

    Networks without batch norm use timm's own. timm's and torchvision's count each batch twice in the running
    statistics of batch norms, once for each time a block is computed; so the blocks of networks with batch norm (timm's
    ResNet, DenseNet, EfficientNet and MobileNet families; torchvision's ResNet and DenseNet; OSNet) are ours to compute
    again.
    Raises ReIDError for any other network.
    """
    has_batch_norm = any(isinstance(module, _BatchNorm) for module in backbone.modules())
    of_timm: Any = getattr(backbone, "set_grad_checkpointing", None)
    if not has_batch_norm and of_timm is not None:
        of_timm(True)
        return
    blocks = [module for module in backbone.modules() if isinstance(module, _BLOCKS)]
    if not blocks:
        raise ReIDError(
            f"gradient_checkpointing is not known for a {type(backbone).__name__}; set "
            "model.gradient_checkpointing=false, or choose a ResNet, DenseNet or EfficientNet, or timm's vision "
            "transformers or ConvNeXts"
        )
    for block in blocks:
        kind: Any = type(block)
        block.__class__ = _checkpointed(kind)  # a wrapper module would rename every weight in it


class _Checkpointed:
    """Turns a block's class into one that computes its output a second time for the backward pass."""

    def forward(self, *inputs: object) -> object:
        compute = super().forward  # type: ignore[misc]  # the block's
        if not torch.is_grad_enabled():
            return compute(*inputs)
        kept = [list(one) if isinstance(one, list) else one for one in inputs]  # a DenseNet adds to the list later
        # What torch.compile computes again in the backward pass has no effects on statistics.
        contexts: dict[str, Any] = {} if torch.compiler.is_compiling() else {"context_fn": partial(_contexts, self)}
        return checkpoint(compute, *kept, use_reentrant=False, **contexts)


@cache
def _checkpointed(block: type[nn.Module]) -> type[nn.Module]:
    return type(f"Checkpointed{block.__name__}", (_Checkpointed, block), {})


def _contexts(block: Any) -> tuple[nullcontext[None], object]:
    return nullcontext(), _without_counting(block)


@contextmanager
def _without_counting(block: nn.Module) -> Iterator[None]:
    """While this lasts batch norms in training mode normalise by the batch and leave their statistics as they are."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counted in kept:
            norm.momentum, norm.num_batches_tracked = momentum, counted
