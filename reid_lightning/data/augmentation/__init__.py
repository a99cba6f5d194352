"""What happens to training pictures at random. Every draw comes from a generator that was seeded for this picture (or
batch) alone, so that results do not depend on workers, and a run that is resumed goes on as it would have.

A step works on one picture in a loader's worker (`on_picture`), on a batch on the device (`on_batch`), or on either.
"""

from __future__ import annotations

import random
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.augmentation.colour import ColourJitter
from reid_lightning.data.augmentation.geometry import Flip, PadCrop, ResizedCrop
from reid_lightning.data.augmentation.library import Torchvision
from reid_lightning.data.augmentation.occlusion import Erase, RandomPatch


@runtime_checkable
class PictureStep(Protocol):
    """A step for one picture."""

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """uint8 (H, W, 3) -> the same shape. The input may be shared: it is never written to."""


@runtime_checkable
class BatchStep(Protocol):
    """A step for a batch on its device, without a loop over the pictures and without waiting for the device."""

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """float32 (B, H, W, 3) in levels from 0 to 255 -> the same shape; `generator` is on the same device."""


__all__ = [
    "BatchStep",
    "ColourJitter",
    "Erase",
    "Flip",
    "PadCrop",
    "PictureStep",
    "RandomPatch",
    "ResizedCrop",
    "Torchvision",
]
