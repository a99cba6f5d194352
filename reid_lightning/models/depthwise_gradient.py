"""Depthwise convolutions whose kernel is larger than the map, on the CPU, where torch takes twenty times too long for
the gradient of their weights: a sixth of a training step of an EfficientNet, 5 x 5 on 3 x 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


def use_depthwise_gradient(model: nn.Module) -> nn.Module:
    """Let the depthwise convolutions of `model` that keep the map's size choose how to compute the gradient of their
    weights, in place: the same weights, names and, but for rounding, numbers."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _keeps_size(module) and module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d
    return model


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d that uses `depthwise_convolution` on the CPU in float32 where its kernel is larger than the map."""

    def forward(self, maps: Tensor) -> Tensor:
        return self.convolved(maps, self.weight, self.bias)

    def convolved(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Maps (B, C, H, W) convolved as by this one with another weight (C, 1, ...) and bias (C,)."""
        if torch.compiler.is_compiling() or not self._gains(maps):
            return self._conv_forward(maps, weight, bias)
        return depthwise_convolution(maps, weight, bias)

    def _gains(self, maps: Tensor) -> bool:
        if maps.device.type != "cpu" or maps.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        return all(0 < side < kernel for side, kernel in zip(maps.shape[2:], self.kernel_size, strict=True))


def depthwise_convolution(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Maps (B, C, H, W), weight (C, 1, kernel height, kernel width), both odd, and bias (C,) or None to (B, C, H, W).

    The gradient of weight [k] is the sum of x[p + k - padding] g[p] over pictures and positions p: a product of two
    views of the maps for each of the kernel's positions. Differentiable once.
    """
    output: Tensor = _Depthwise.apply(maps, weight, bias)  # type: ignore[no-untyped-call]
    return output


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.padding = [side // 2 for side in weight.shape[2:]]
        return functional.conv2d(maps, weight, bias, padding=ctx.padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            sizes = [1, 1], ctx.padding, [1, 1], False, [0, 0], len(weight)
            wanted = [True, False, False]
            of_maps = torch.ops.aten.convolution_backward(gradient, maps, weight, None, *sizes, wanted)[0]
        maps, gradient = maps.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)  # channels last, as they are in memory
        if ctx.needs_input_grad[1]:
            of_weight = torch.zeros_like(weight)
            for row, below, above in _shifts(weight.shape[2], maps.shape[1]):
                for column, left, right in _shifts(weight.shape[3], maps.shape[2]):
                    products = maps[:, below, left] * gradient[:, above, right]
                    of_weight[:, 0, row, column] = products.sum(dim=(0, 1, 2))
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 1, 2))
        return of_maps, of_weight, of_bias


def _shifts(kernel: int, side: int) -> Iterator[tuple[int, slice, slice]]:
    """Positions of a kernel that meet the map, with the slices of the input and of the output that they join."""
    for at in range(kernel):
        shift = at - kernel // 2
        if abs(shift) < side:
            yield at, slice(max(0, shift), side + min(0, shift)), slice(max(0, -shift), side - max(0, shift))


def _keeps_size(convolution: nn.Conv2d) -> bool:
    kernel = convolution.kernel_size
    return (
        convolution.out_channels == convolution.in_channels
        and all(side % 2 for side in kernel)
        and convolution.padding == tuple(side // 2 for side in kernel)
        and convolution.stride == convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
    )
