"""Convolutions on small maps equal torch's own, forward and backward, and leave the model's state_dict alone."""

import pytest
import torch
from torch import nn

from reid_lightning.models import ReIDModel
from reid_lightning.models.conv_as_matmul import SmallMapConv2d, small_map_convolution, use_conv_as_matmul


def slow(maps, weight, stride, padding):
    """The sum as it is written, one output position and kernel position at a time, in float64."""
    batch, _, height, width = maps.shape
    out, _, rows, columns = weight.shape
    parts = zip((height, width), padding, (rows, columns), stride, strict=True)
    size = [(n + 2 * p - k) // s + 1 for n, p, k, s in parts]
    result = torch.zeros(batch, out, *size, dtype=torch.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            for i in range(rows):
                for j in range(columns):
                    v, u = y * stride[0] + i - padding[0], x * stride[1] + j - padding[1]
                    if 0 <= v < height and 0 <= u < width:
                        result[:, :, y, x] += maps[:, :, v, u].double() @ weight[:, :, i, j].double().t()
    return result


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((2, 2), (3, 3), (1, 1), (1, 1)),
        ((4, 4), (3, 3), (2, 2), (1, 1)),
        ((4, 3), (1, 1), (2, 2), (0, 0)),
        ((1, 4), (3, 5), (1, 2), (1, 2)),
        ((1, 1), (3, 3), (1, 1), (1, 1)),
        ((3, 2), (2, 3), (2, 1), (0, 3)),  # whole columns of the output lie in the padding
    ],
)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_sum(size, kernel, stride, padding, memory):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, *size, generator=generator).contiguous(memory_format=memory).requires_grad_()
    weight = torch.randn(5, 4, *kernel, generator=generator).contiguous(memory_format=memory).requires_grad_()
    expected = slow(maps, weight, stride, padding)
    weights_of_sum = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * weights_of_sum).sum(), (maps, weight))
    result = small_map_convolution(maps, weight, stride=stride, padding=padding)
    got = torch.autograd.grad((result * weights_of_sum.float()).sum(), (maps, weight))
    torch.testing.assert_close(result, expected.float())
    torch.testing.assert_close(got, wanted)


def test_a_convolution_of_two_by_two_by_hand():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    weight = torch.arange(9.0).view(1, 1, 3, 3)  # rows 0 1 2, 3 4 5, 6 7 8
    result = small_map_convolution(maps, weight, stride=(1, 1), padding=(1, 1))
    # top left sees the map under 4 5 / 7 8: 4 + 10 + 21 + 32; bottom right under 0 1 / 3 4: 0 + 2 + 9 + 16
    assert result[0, 0, 0, 0] == 67
    assert result[0, 0, 1, 1] == 27


def test_only_what_needs_a_gradient_gets_one():
    weight = torch.ones(1, 1, 1, 1, requires_grad=True)
    maps = torch.full((2, 1, 1, 1), 3.0)
    small_map_convolution(maps, weight, stride=(1, 1), padding=(0, 0)).sum().backward()
    assert maps.grad is None
    assert weight.grad.item() == 6


def test_a_network_keeps_its_names_and_its_numbers():
    torch.manual_seed(0)
    model = ReIDModel("resnet18", ibn="a", last_stride=2).eval()
    names, images = list(model.state_dict()), torch.randn(2, 3, 64, 64)
    before = model.embed(images)
    assert use_conv_as_matmul(model) is model
    assert any(type(module) is SmallMapConv2d for module in model.modules())
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model.embed(images), before, atol=1e-5, rtol=1e-4)


class Spy(SmallMapConv2d):
    small = None

    def _gains(self, maps):
        self.small = super()._gains(maps)
        return self.small


@pytest.mark.parametrize(
    ("side", "dtype", "small"),
    [(2, torch.float32, True), (3, torch.float32, False), (2, torch.float64, False)],
)
def test_large_maps_and_other_types_stay_with_torch(side, dtype, small):
    convolution = Spy(2, 2, 3, padding=1, bias=False).to(dtype)
    convolution(torch.zeros(1, 2, side, side, dtype=dtype))
    assert convolution.small is small


def test_autocast_stays_with_torch():
    convolution = Spy(2, 2, 3, padding=1, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(torch.zeros(1, 2, 2, 2)).dtype == torch.bfloat16
    assert convolution.small is False


def test_other_convolutions_are_left_alone():
    others = nn.ModuleList(
        [
            nn.Conv2d(2, 2, 3),  # a bias
            nn.Conv2d(2, 2, 3, groups=2, bias=False),
            nn.Conv2d(2, 2, 3, dilation=2, bias=False),
            nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect", bias=False),
            nn.Conv2d(2, 2, 3, padding="same", bias=False),
        ]
    )
    use_conv_as_matmul(others)
    assert all(type(module) is nn.Conv2d for module in others)


def test_an_empty_output_is_refused_as_by_torch():
    convolution = use_conv_as_matmul(nn.Conv2d(1, 1, 3, bias=False))
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size"):
        convolution(torch.zeros(1, 1, 2, 2))
