"""Convolutions on maps of a few positions as matrix products, on the CPU, where convolution kernels waste their time on
padding: the last stage of a ResNet18 at 64 pixels took half of a training step with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_POSITIONS = 4
"""Up to a map of 2 x 2. A training step of 512 channels takes a fifth of the time there; at 4 x 4 it depends."""


def use_conv_as_matmul(model: nn.Module) -> nn.Module:
    """Let the plain convolutions of `model` choose how to compute, in place: the same weights, names and, but for
    rounding, numbers. Wherever `SmallMapConv2d` has nothing to gain it is torch's own convolution."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.groups == 1 and module.bias is None and _is_plain(module):
            module.__class__ = SmallMapConv2d
    return model


class SmallMapConv2d(nn.Conv2d):
    """nn.Conv2d without bias that uses `small_map_convolution` on the CPU in float32, for outputs of up to 2 x 2."""

    def forward(self, maps: Tensor) -> Tensor:
        return self.convolved(maps, self.weight, None)

    def convolved(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Maps (B, C_in, H, W) convolved as by this one with another weight (C_out, C_in, ...) and bias (C_out,)."""
        if torch.compiler.is_compiling() or not self._gains(maps):
            return self._conv_forward(maps, weight, bias)
        stride, padding = _pair(self.stride), _pair(self.padding)
        output = small_map_convolution(maps, weight, stride=stride, padding=padding)
        return output if bias is None else output + bias[:, None, None]

    def _gains(self, maps: Tensor) -> bool:
        if maps.device.type != "cpu" or maps.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        sizes = maps.shape[2:], self.kernel_size, self.stride, self.padding
        height, width = _output_size(*map(_pair, sizes))
        return 0 < height * width <= _POSITIONS


def small_map_convolution(maps: Tensor, weight: Tensor, *, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """conv2d(maps, weight): y[:, o] = sum_k x[:, stride o + k - padding] weight[:, :, k]^T over the positions inside.

    A product of matrices for each output position o and row of the kernel; with channels last in memory all of them are
    views, so nothing is copied and padding costs nothing. maps: (B, C_in, H, W); weight: (C_out, C_in, kernel height,
    kernel width); to (B, C_out, H', W'), channels last. Differentiable once.
    """
    return _Convolution.apply(maps, weight, stride, padding)  # type: ignore[no-untyped-call]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        maps, weight = _channels_last(maps), _channels_last(weight)  # (B, H, W, C_in), (C_out, kernel, kernel, C_in)
        sizes = _pair(maps.shape[1:3]), _pair(weight.shape[1:3]), stride, padding
        ctx.products = tuple(_products(*sizes))
        ctx.save_for_backward(maps, weight)
        output = maps.new_zeros(len(maps), *_output_size(*sizes), len(weight))
        for at in ctx.products:
            output[:, *at.output].addmm_(at.of_maps(maps), at.of_weight(weight).t())
        return output.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        maps, weight = ctx.saved_tensors
        gradient = _channels_last(gradient)
        of_maps = torch.zeros_like(maps) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for at in ctx.products:
            here = gradient[:, *at.output]
            if of_maps is not None:
                at.of_maps(of_maps).addmm_(here, at.of_weight(weight))
            if of_weight is not None:
                at.of_weight(of_weight).addmm_(here.t(), at.of_maps(maps))
        of_maps, of_weight = (one if one is None else one.permute(0, 3, 1, 2) for one in (of_maps, of_weight))
        return of_maps, of_weight, None, None


class _Product(NamedTuple):
    """One output position, one row of the kernel, and the columns of that row which lie inside the map."""

    output: tuple[int, int]
    map_row: int
    map_columns: slice
    kernel_row: int
    kernel_columns: slice

    def of_maps(self, maps: Tensor) -> Tensor:
        """(B, columns * C_in), a view."""
        return maps[:, self.map_row, self.map_columns].view(len(maps), -1)

    def of_weight(self, weight: Tensor) -> Tensor:
        """(C_out, columns * C_in), a view."""
        return weight[:, self.kernel_row, self.kernel_columns].view(len(weight), -1)


def _products(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Iterator[_Product]:
    height, width = _output_size(size, kernel, stride, padding)
    for row in range(height):
        for column in range(width):
            left = column * stride[1] - padding[1]
            columns = slice(max(0, -left), min(kernel[1], size[1] - left))
            for kernel_row in range(kernel[0]):
                map_row = row * stride[0] + kernel_row - padding[0]
                if 0 <= map_row < size[0] and columns.start < columns.stop:
                    inside = slice(left + columns.start, left + columns.stop)
                    yield _Product((row, column), map_row, inside, kernel_row, columns)


def _output_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[int, int]:
    height, width = ((size[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1))
    return height, width


def _pair(sizes: Any) -> tuple[int, int]:
    """Of what torch declares as any number of numbers."""
    first, second = sizes
    return int(first), int(second)


def _channels_last(tensor: Tensor) -> Tensor:
    """(A, B, H, W) -> (A, H, W, B), contiguous."""
    return tensor.permute(0, 2, 3, 1).contiguous()


def _is_plain(convolution: nn.Conv2d) -> bool:
    return (
        convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )
