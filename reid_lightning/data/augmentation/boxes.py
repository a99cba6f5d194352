"""Random boxes inside a picture: a share of its area and an aspect ratio are drawn until a box fits, ten times at most.

This is how torchvision's RandomErasing and RandomResizedCrop draw theirs.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

import torch
from torch import Tensor

_ATTEMPTS = 10


class Box(NamedTuple):
    """In pixels."""

    top: int
    left: int
    height: int
    width: int


class Boxes(NamedTuple):
    """One box for each picture of a batch, four int64 (B,); where none fitted, height and width are 0."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def mask(self, height: int, width: int) -> Tensor:
        """bool (B, height, width, 1): what lies in the box."""
        rows = torch.arange(height, device=self.top.device)
        columns = torch.arange(width, device=self.top.device)
        in_rows = (rows >= self.top[:, None]) & (rows < (self.top + self.height)[:, None])
        in_columns = (columns >= self.left[:, None]) & (columns < (self.left + self.width)[:, None])
        return (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def draw_box(
    draw: random.Random, height: int, width: int, *, area: tuple[float, float], aspect: tuple[float, float]
) -> Box | None:
    """A box of a share `area` (uniform) of `height` x `width`, width / height within `aspect` (log-uniform); None if
    none fitted."""
    for _ in range(_ATTEMPTS):
        pixels = draw.uniform(*area) * height * width
        ratio = math.exp(draw.uniform(math.log(aspect[0]), math.log(aspect[1])))
        box_height, box_width = round(math.sqrt(pixels / ratio)), round(math.sqrt(pixels * ratio))
        if 1 <= box_height <= height and 1 <= box_width <= width:
            top, left = draw.randrange(height - box_height + 1), draw.randrange(width - box_width + 1)
            return Box(top, left, box_height, box_width)
    return None


def draw_boxes(
    count: int,
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator,
) -> Boxes:
    """`count` boxes at once, drawn like `draw_box`, on the generator's device."""
    attempts = torch.rand(2, count, _ATTEMPTS, generator=generator, device=generator.device)
    pixels = (area[0] + (area[1] - area[0]) * attempts[0]) * (height * width)
    ratio = (math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * attempts[1]).exp()
    heights, widths = (pixels / ratio).sqrt().round().long(), (pixels * ratio).sqrt().round().long()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    first = fits.int().argmax(dim=1, keepdim=True)
    some = fits.any(dim=1)
    box_height = heights.gather(1, first)[:, 0] * some
    box_width = widths.gather(1, first)[:, 0] * some
    top = draw_below(height - box_height + 1, generator)
    left = draw_below(width - box_width + 1, generator)
    return Boxes(top, left, box_height, box_width)


def draw_below(limits: Tensor, generator: torch.Generator) -> Tensor:
    """A whole number from 0 to `limits` - 1 for each, int64 (B,)."""
    shares = torch.rand(len(limits), generator=generator, device=generator.device)
    return (shares * limits).long().minimum(limits - 1)  # a share just below 1 may round up


def draw_chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """bool (count, 1, 1, 1), each true with `probability`."""
    return torch.rand(count, 1, 1, 1, generator=generator, device=generator.device) < probability
