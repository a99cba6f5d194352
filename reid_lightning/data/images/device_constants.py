"""Small constants on a device, made once: making one in each step would make the host wait for the device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 (len(values),) on `device`. It is shared: never write to it."""
    with torch.inference_mode(False):  # else a constant first met in validation could not serve training
        return torch.tensor(values, dtype=torch.float32, device=device)
