"""What stands before the vehicle: a box in one colour, or a piece of another picture."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.augmentation import checks
from reid_lightning.data.augmentation.boxes import (
    Box,
    Boxes,
    draw_below,
    draw_box,
    draw_boxes,
    draw_chosen,
)
from reid_lightning.data.augmentation.geometry import gathered
from reid_lightning.data.images.device_constants import constant


@dataclass(frozen=True)
class Erase:
    """Paint a box over with `probability` (random erasing, Zhong et al., arXiv 1708.04896).

    Args:
        probability: share of the pictures.
        area: share of the picture, [least, most].
        aspect: width / height of the box, [least, most].
        colour: red, green, blue from 0 to 1. The mean that normalising subtracts makes the box 0 to the network (on
            single pictures to half a level, because they are whole numbers).
    """

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float]
    colour: tuple[float, float, float]

    def __post_init__(self) -> None:
        checks.share("Erase.probability", self.probability)
        object.__setattr__(self, "area", checks.span("Erase.area", self.area, most=1))
        object.__setattr__(self, "aspect", checks.span("Erase.aspect", self.aspect))
        object.__setattr__(self, "colour", checks.colour("Erase.colour", self.colour))

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        if draw.random() >= self.probability:
            return pixels
        box = draw_box(draw, *pixels.shape[:2], area=self.area, aspect=self.aspect)
        return pixels if box is None else erased(pixels, box, self.colour)

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3)."""
        count, height, width, _ = images.shape
        chosen = draw_chosen(count, self.probability, generator)
        boxes = draw_boxes(count, height, width, area=self.area, aspect=self.aspect, generator=generator)
        levels = constant(tuple(255 * one for one in self.colour), images.device)
        return torch.where(boxes.mask(height, width) & chosen, levels, images)


@dataclass(frozen=True)
class RandomPatch:
    """Paste a piece of another picture of the batch, mirrored half the time, at a random place (after torchreid).

    torchreid keeps a pool of pieces of earlier pictures. Such a memory would make a picture depend on what its worker
    saw before, so pieces come from the batch itself, on each rank from its own; a batch of one picture stays as it is.

    Args:
        probability: share of the pictures that get a piece.
        area: of the piece, as a share of the picture, [least, most].
        aspect: width / height of the piece, [least, most].
    """

    probability: float
    area: tuple[float, float]
    aspect: tuple[float, float]

    def __post_init__(self) -> None:
        checks.share("RandomPatch.probability", self.probability)
        object.__setattr__(self, "area", checks.span("RandomPatch.area", self.area, most=1))
        object.__setattr__(self, "aspect", checks.span("RandomPatch.aspect", self.aspect))

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3)."""
        count, height, width, _ = images.shape
        if count == 1:
            return images
        chosen = draw_chosen(count, self.probability, generator)
        pieces = draw_boxes(count, height, width, area=self.area, aspect=self.aspect, generator=generator)
        places = Boxes(
            draw_below(height - pieces.height + 1, generator),
            draw_below(width - pieces.width + 1, generator),
            pieces.height,
            pieces.width,
        )
        pictures = torch.arange(count, device=images.device)
        others = (pictures + 1 + draw_below(torch.full_like(pictures, count - 1), generator)) % count
        mirrored = draw_chosen(count, 0.5, generator)[:, 0, 0, 0]
        pasted = pasted_batch(images, others, pieces, places, mirrored=mirrored)
        return torch.where(chosen, pasted, images)


def erased(pixels: np.ndarray, box: Box, colour: tuple[float, float, float]) -> np.ndarray:
    """A copy of (H, W, 3) with the box painted over; `colour` from 0 to 1."""
    painted = pixels.copy()
    row = np.tile(np.rint(255 * np.array(colour)).astype(np.uint8), (box.width, 1))
    painted[box.top : box.top + box.height, box.left : box.left + box.width] = row
    return painted


def pasted_batch(images: Tensor, others: Tensor, pieces: Boxes, places: Boxes, *, mirrored: Tensor) -> Tensor:
    """(B, H, W, 3): `pieces[b]` of picture `others[b]` laid onto `places[b]` of picture b, mirrored where (B,) says."""
    _, height, width, _ = images.shape
    down = torch.arange(height, device=images.device) - places.top[:, None]
    along = torch.arange(width, device=images.device) - places.left[:, None]
    along = torch.where(mirrored[:, None], pieces.width[:, None] - 1 - along, along)
    laid = gathered(images, others, down + pieces.top[:, None], along + pieces.left[:, None])
    return torch.where(places.mask(height, width), laid, images)
