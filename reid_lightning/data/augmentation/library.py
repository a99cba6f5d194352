"""Augmentation policies of torchvision (AutoAugment, RandAugment, TrivialAugment, ...), made repeatable."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.augmentation import checks
from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class Torchvision:
    """Any transform of `torchvision.transforms.v2` that turns uint8 (3, H, W) into the same shape.

    Args:
        transform: draws from torch's global generator, which is seeded for each picture and put back afterwards.
        probability: share of the pictures that change.
    """

    transform: Callable[[Tensor], Tensor]
    probability: float = 1.0

    def __post_init__(self) -> None:
        checks.share("Torchvision.probability", self.probability)

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        if draw.random() >= self.probability:
            return pixels
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(draw.getrandbits(63))  # torch.manual_seed would reseed accelerators too
        try:
            changed = self.transform(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
        finally:
            torch.set_rng_state(before)
        expected = (pixels.shape[2], *pixels.shape[:2])
        if not isinstance(changed, Tensor) or changed.dtype != torch.uint8 or tuple(changed.shape) != expected:
            came = f"{changed.dtype} {tuple(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise ReIDError(
                f"the transform {self.transform} made {came} of a picture of torch.uint8 {expected}; only transforms "
                "that keep type and size can stand here (the size is set by input.height and input.width)."
            )
        return np.ascontiguousarray(changed.permute(1, 2, 0).numpy())
