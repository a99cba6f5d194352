"""Keeps losses in float32 under autocast: exponentials and small differences do not survive half precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, cast, overload

import torch
from torch import Tensor

_Loss = TypeVar("_Loss", bound=Callable[..., Tensor])


def full_precision(function: _Loss) -> _Loss:
    """`function` without autocast, its half-precision tensor arguments cast to float32; float64 stays float64."""

    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> Tensor:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*map(widened, args), **{name: widened(value) for name, value in kwargs.items()})

    return cast(_Loss, wrapped)  # the arguments are the same


@overload
def widened(value: Tensor) -> Tensor: ...
@overload
def widened(value: object) -> object: ...
def widened(value: object) -> object:
    """A half-precision tensor as float32, anything else as it is."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
