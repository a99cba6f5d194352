"""Cameras disagree about colour: brightness, contrast, saturation and hue at random, in one linear map.

All four are linear in (R, G, B, 1), so a picture is touched once instead of four times, as in DALI's ColorTwist.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_lightning.data.augmentation import checks
from reid_lightning.data.augmentation.boxes import draw_chosen
from reid_lightning.data.images.device_constants import constant

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # NTSC; rows of hue sum to 0
_GREY = np.tile(_YIQ[0], (3, 1))  # every channel becomes the luma
_CHROMA = np.eye(3) - _GREY
_QUARTER = np.linalg.inv(_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _YIQ  # the hue turned by 90 degrees


@dataclass(frozen=True)
class ColourJitter:
    """Change the colours with `probability`.

    Args:
        brightness: the factor is drawn from 1 - brightness to 1 + brightness.
        contrast: likewise, about the mean luma of the picture.
        saturation: likewise, about the luma of each pixel.
        hue: turned by up to this share of the colour circle either way, 0 to 0.5 (in YIQ, which keeps the luma).
        probability: share of the pictures that change.

    Unlike torchvision's ColorJitter the order is fixed (as listed) and levels are clipped once, at the end.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue", "probability"):
            checks.share(f"ColourJitter.{name}", getattr(self, name))

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        if draw.random() >= self.probability:
            return pixels
        brightness, contrast, saturation = (
            1 + draw.uniform(-most, most) for most in (self.brightness, self.contrast, self.saturation)
        )
        angle = 2 * math.pi * draw.uniform(-self.hue, self.hue)
        chroma = saturation * (math.cos(angle) * _CHROMA + math.sin(angle) * _QUARTER)
        matrix = contrast * brightness * (_GREY + chroma)
        means = pixels.reshape(len(pixels), -1).sum(axis=0, dtype=np.uint32).reshape(-1, 3).mean(axis=0) / len(pixels)
        shift = (1 - contrast) * brightness * (_YIQ[0] @ means)
        rows = np.column_stack([matrix, np.full(3, shift)])
        return np.array(Image.fromarray(pixels).convert("RGB", tuple(rows.ravel().tolist())))

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3)."""
        count = len(images)
        chosen = draw_chosen(count, self.probability, generator)[:, 0, 0]
        most = constant((self.brightness, self.contrast, self.saturation, 2 * math.pi * self.hue), images.device)
        draws = most * (2 * torch.rand(count, 4, generator=generator, device=images.device) - 1) * chosen
        brightness, contrast, saturation = (1 + draws[:, :3]).T[..., None, None]
        angle = draws[:, 3, None, None]
        grey, chroma, quarter = (
            constant(tuple(one.ravel().tolist()), images.device).view(3, 3) for one in (_GREY, _CHROMA, _QUARTER)
        )
        matrix = contrast * brightness * (grey + saturation * (angle.cos() * chroma + angle.sin() * quarter))
        pixels = images.reshape(count, -1, 3)
        shift = (1 - contrast) * brightness * (pixels.mean(dim=1, keepdim=True) * grey[0]).sum(dim=2, keepdim=True)
        return torch.baddbmm(shift, pixels, matrix.mT).clamp(0, 255).view_as(images)
