"""Roots are those of IEEE 754, whoever made the processor."""

import math

import pytest
import torch

from reid_lightning.ranking.precision import square_root_


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roots_are_rounded_to_the_nearest_number(dtype):
    values = torch.cat([torch.arange(2000), torch.tensor([0.1, 1e-30, 1e30])]).to(dtype)
    roots = torch.tensor([math.sqrt(value) for value in values.tolist()], dtype=dtype)
    assert torch.equal(square_root_(values.clone()), roots)
    assert torch.equal(square_root_(values[:2000].clone().view(50, 40).T), roots[:2000].view(50, 40).T)
