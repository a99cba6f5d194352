"""Batch norms with frozen statistics computed by the convolutions before them, in training: such a norm is one factor
and one summand a channel, which the weights can take along at the cost of the weights, not of the maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.models.conv_as_matmul import SmallMapConv2d
from reid_lightning.models.depthwise_gradient import DepthwiseConv2d
from reid_lightning.models.reid_model import ReIDOutput

_CONVOLUTIONS: tuple[type[nn.Conv2d], ...] = (nn.Conv2d, SmallMapConv2d, DepthwiseConv2d, Conv2dSame)
_NORMS: tuple[type[nn.BatchNorm2d], ...] = (nn.BatchNorm2d, BatchNormAct2d)
_SIDE = 64  # of the picture that shows which norm stands behind which convolution
_TOLERANCE = 1e-3  # of the largest number


def fold_frozen_norms(network: nn.Module) -> nn.Module:
    """Let each convolution do the work of a frozen batch norm that stands right behind it, in place.

    Only while the convolution is in training mode and the norm is not, which is what frozen statistics are: names,
    weights, their gradients and, but for rounding, all numbers stay. Which norm follows which convolution is seen by
    showing the network a picture; where the folded network then gives other numbers (a convolution's output is used
    elsewhere too) it is left as it was. `network`: takes (1, 3, 64, 64); what does not is left as it is.
    """
    modes = {module: module.training for module in network.modules()}
    try:
        pairs = _pairs(network.eval())
        kinds = {module: type(module) for pair in pairs for module in pair}
        for convolution, norm in pairs:
            _fold(convolution, norm)
        if pairs and not _gives_the_same(network, pairs):
            for folded, kind in kinds.items():
                folded.__class__ = kind
    finally:
        for module, mode in modes.items():
            module.training = mode
    return network


def _pairs(network: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the output's id; the output is kept, so that the id is its own
    pairs: Counter[tuple[nn.Conv2d, nn.BatchNorm2d]] = Counter()
    ran: Counter[nn.Module] = Counter()

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        ran[module] += 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in made:
            pairs[made[id(inputs[0])][0], module] += 1

    known = [module for module in network.modules() if type(module) in _CONVOLUTIONS + _NORMS]
    hooks = [module.register_forward_hook(note) for module in known]
    try:
        _look(network)
    except (AssertionError, RuntimeError, ValueError):  # a network that takes pictures of its own size only
        return []
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (convolution, norm)
        for (convolution, norm), times in pairs.items()
        if norm.affine and norm.track_running_stats and ran[convolution] == ran[norm] == times
    ]


@torch.no_grad()
def _look(network: nn.Module) -> Tensor:
    noise = torch.randn(1, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    output: Tensor | ReIDOutput = network(noise.to(next(network.parameters())))
    return output if isinstance(output, Tensor) else output.embeddings


@torch.no_grad()
def _gives_the_same(network: nn.Module, pairs: Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> bool:
    """Looked at with statistics that no norm leaves untouched, as those of random weights would be."""
    statistics = [buffer for _, norm in pairs for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
    kept = [buffer.clone() for buffer in statistics]
    for buffer in statistics:
        buffer += torch.linspace(0.05, 0.1, len(buffer), device=buffer.device)
    apart = _look(network)
    for convolution, _ in pairs:
        convolution.training = True
    together = _look(network)
    torch._foreach_copy_(statistics, kept)
    return bool((together - apart).abs().max() <= _TOLERANCE * apart.abs().max())


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    convolution.__dict__["norm"] = norm  # not as a child, which would rename its weights
    norm.__dict__["convolution"] = convolution
    convolution.__class__ = _WITH_NORM[type(convolution)]
    norm.__class__ = _WITHOUT_AFFINE[type(norm)]


class _WithNorm:
    """A convolution that gives what its norm would make of its output."""

    def forward(self: Any, maps: Tensor) -> Tensor:
        if not self.training or self.norm.training:
            output: Tensor = super().forward(maps)  # type: ignore[misc]  # the convolution's
            return output
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            bias = bias + self.bias * scale
        return _convolved(self, maps, self.weight * scale[:, None, None, None], bias)


class _WithoutAffine:
    """A norm of which only the activation is left to do where its convolution has done the rest."""

    def forward(self: Any, maps: Tensor) -> Tensor:
        output: Tensor
        if self.training or not self.convolution.training:
            output = super().forward(maps)  # type: ignore[misc]  # the norm's
        else:
            output = self.act(self.drop(maps)) if isinstance(self, BatchNormAct2d) else maps
        return output


_WITH_NORM = {kind: type(f"{kind.__name__}WithNorm", (_WithNorm, kind), {}) for kind in _CONVOLUTIONS}
_WITHOUT_AFFINE = {kind: type(f"{kind.__name__}WithoutAffine", (_WithoutAffine, kind), {}) for kind in _NORMS}


def _convolved(convolution: nn.Conv2d, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if isinstance(convolution, SmallMapConv2d | DepthwiseConv2d):
        return convolution.convolved(maps, weight, bias)
    if isinstance(convolution, Conv2dSame):
        stride, dilation = convolution.stride, convolution.dilation
        maps = pad_same(maps, list(convolution.kernel_size), list(stride), list(dilation))
        return functional.conv2d(maps, weight, bias, stride, (0, 0), dilation, convolution.groups)
    return convolution._conv_forward(maps, weight, bias)
