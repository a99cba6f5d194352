"""Depthwise convolutions with a gradient of our own: the numbers of torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from reid_lightning.models.depthwise_gradient import DepthwiseConv2d, depthwise_convolution, use_depthwise_gradient


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (1, 1), (2, 4), (1, 3)])
@pytest.mark.parametrize("kernel", [(5, 5), (5, 7)])
def test_it_is_torchs_depthwise_convolution(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 6, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 1, *kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    ours = depthwise_convolution(maps, weight, bias)
    theirs = functional.conv2d(maps, weight, bias, padding=[side // 2 for side in kernel], groups=6)
    torch.testing.assert_close(ours, theirs)
    wanted = torch.randn_like(ours)
    gradients = [torch.autograd.grad(output, (maps, weight, bias), wanted) for output in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_only_what_needs_a_gradient_gets_one() -> None:
    weight = torch.ones(2, 1, 5, 5, requires_grad=True)
    maps = torch.ones(1, 2, 2, 2)
    depthwise_convolution(maps, weight, None).sum().backward()
    assert maps.grad is None and weight.grad is not None
    assert weight.grad[0, 0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 2, 1, 0],
        [0, 2, 4, 2, 0],
        [0, 1, 2, 1, 0],
        [0, 0, 0, 0, 0],
    ]


def test_others_are_left_alone() -> None:
    others = nn.ModuleList(
        [
            nn.Conv2d(4, 4, 5, padding=2),  # not depthwise
            nn.Conv2d(4, 8, 5, padding=2, groups=4),
            nn.Conv2d(4, 4, 5, padding=2, groups=4, stride=2),
            nn.Conv2d(4, 4, 5, padding=1, groups=4),
            nn.Conv2d(4, 4, 4, padding=2, groups=4),
            nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="circular"),
        ]
    )
    use_depthwise_gradient(others)
    assert all(type(module) is nn.Conv2d for module in others)


@pytest.mark.parametrize(
    ("side", "dtype", "ours"), [(4, torch.float32, True), (5, torch.float32, False), (4, torch.float64, False)]
)
def test_large_maps_and_other_types_stay_with_torch(side: int, dtype: torch.dtype, ours: bool) -> None:
    convolution = use_depthwise_gradient(nn.Conv2d(4, 4, 5, padding=2, groups=4)).to(dtype)
    assert isinstance(convolution, DepthwiseConv2d)
    maps = convolution(torch.zeros(1, 4, side, side, dtype=dtype))
    assert (maps.grad_fn.name() == "_DepthwiseBackward") is ours
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        assert convolution(torch.zeros(1, 4, side, side, dtype=dtype)).grad_fn.name() != "_DepthwiseBackward"
