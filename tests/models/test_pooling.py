"""GeM, average and token pooling against slow sums, and their gradients at the edges."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.pooling import AveragePool, GeM, TokenPool, build_pooling


def test_gem_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])
    # (1 + 8 + 27 + 0) / 4 = 9, and the cube root of 9 is 2.0800838.
    assert GeM()(maps).item() == pytest.approx(2.0800838, abs=1e-6)


def test_gem_equals_a_slow_loop() -> None:
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 4, 5)
    pool = GeM(p=2.5)
    for picture in range(2):
        for channel in range(3):
            powers = [max(value, 1e-6) ** 2.5 for value in maps[picture, channel].flatten().tolist()]
            expected = (sum(powers) / len(powers)) ** (1 / 2.5)
            assert pool(maps)[picture, channel].item() == pytest.approx(expected, rel=1e-5)


def test_gem_with_p_1_is_the_average_and_p_is_learnt() -> None:
    maps = torch.rand(2, 3, 4, 4) + 0.1
    torch.testing.assert_close(GeM(p=1.0)(maps), maps.mean(dim=(2, 3)))
    pool = GeM()
    pool(maps).sum().backward()
    assert pool.p.grad is not None and pool.p.grad.abs().item() > 0


@pytest.mark.parametrize("p", [-2.0, 0.0, 1.0, 3.0, 6.0, 50.0])
def test_gem_has_finite_gradients_for_dead_channels_and_any_p(p: float) -> None:
    maps = torch.cat((torch.zeros(2, 1, 3, 3), torch.full((2, 1, 3, 3), 500.0)), dim=1).requires_grad_()
    pool = GeM(p=p)
    result = pool(maps)
    result.sum().backward()
    assert torch.isfinite(result).all() and torch.isfinite(maps.grad).all() and torch.isfinite(pool.p.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pool", [GeM(), AveragePool()])
def test_half_precision_maps_are_pooled_in_float32(pool: nn.Module, dtype: torch.dtype) -> None:
    maps = torch.full((1, 2, 4, 4), 60.0, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = pool(maps)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.full((1, 2), 60.0))


@pytest.mark.parametrize("name", ["gem", "avg"])
def test_maps_with_channels_last_give_the_same(name: str) -> None:
    maps = torch.rand(2, 5, 3, 4)
    expected = build_pooling(name, layout="NCHW")(maps)
    torch.testing.assert_close(build_pooling(name, layout="NHWC")(maps.permute(0, 2, 3, 1)), expected)


def test_tokens_give_the_class_token_or_their_mean() -> None:
    tokens = torch.rand(2, 4, 3)
    torch.testing.assert_close(TokenPool(has_class_token=True)(tokens), tokens[:, 0])
    torch.testing.assert_close(build_pooling("gem", layout="NLC")(tokens), tokens.mean(dim=1))
    vectors = torch.rand(2, 3)
    assert build_pooling("gem", layout="NC")(vectors) is vectors


def test_unknown_pooling_is_named() -> None:
    with pytest.raises(ReIDError, match=r"pooling='max' is unknown; expected one of \['avg', 'gem'\]"):
        build_pooling("max", layout="NCHW")
