"""Where things are in the picture: mirrored, shifted, or cut closer."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.augmentation import checks
from reid_lightning.data.augmentation.boxes import Boxes, draw_below, draw_box, draw_boxes, draw_chosen
from reid_lightning.data.images.decoding import resize
from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with `probability`."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        checks.share("Flip.probability", self.probability)

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        if draw.random() >= self.probability:
            return pixels
        return torch.from_numpy(pixels).flip(1).numpy()  # numpy copies mirrored pixels twenty times slower

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3)."""
        return torch.where(draw_chosen(len(images), self.probability, generator), images.flip(2), images)


@dataclass(frozen=True)
class PadCrop:
    """Shift by up to `padding` pixels each way; what comes in is black. The same as padding and cropping back."""

    padding: int

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int) or self.padding < 0:
            raise ReIDError(f"PadCrop.padding is {self.padding!r}; expected a whole number of pixels, 0 or more.")

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        down, right = (draw.randint(-self.padding, self.padding) for _ in range(2))
        return shifted(pixels, down, right)

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3)."""
        limits = torch.full((len(images),), 2 * self.padding + 1, device=images.device)
        down, right = (draw_below(limits, generator) - self.padding for _ in range(2))
        return shifted_batch(images, down, right)


@dataclass(frozen=True)
class ResizedCrop:
    """Cut out a box with a share `area` of the picture and width / height within `aspect`; enlarge it to full size."""

    area: tuple[float, float]
    aspect: tuple[float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", checks.span("ResizedCrop.area", self.area, most=1))
        object.__setattr__(self, "aspect", checks.span("ResizedCrop.aspect", self.aspect))

    def on_picture(self, pixels: np.ndarray, draw: random.Random) -> np.ndarray:
        """One picture, uint8 (H, W, 3); whole where no box fitted."""
        height, width, _ = pixels.shape
        box = draw_box(draw, height, width, area=self.area, aspect=self.aspect)
        if box is None:
            return pixels
        cut = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
        return resize(cut, height, width)

    def on_batch(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A batch, float32 (B, H, W, 3); whole where no box fitted."""
        count, height, width, _ = images.shape
        boxes = draw_boxes(count, height, width, area=self.area, aspect=self.aspect, generator=generator)
        none = boxes.height == 0
        whole = Boxes(
            boxes.top * ~none,
            boxes.left * ~none,
            boxes.height + height * none,
            boxes.width + width * none,
        )
        return enlarged_batch(images, whole)


def shifted(pixels: np.ndarray, down: int, right: int) -> np.ndarray:
    """(H, W, 3) moved by whole pixels, black where nothing came."""
    height, width, _ = pixels.shape
    down, right = max(-height, min(down, height)), max(-width, min(right, width))
    moved = np.zeros_like(pixels)
    moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = pixels[
        max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)
    ]
    return moved


def shifted_batch(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """(B, H, W, 3), each moved by its own whole pixels (B,), black where nothing came."""
    count, height, width, _ = images.shape
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    moved = gathered(images, torch.arange(count, device=images.device), rows, columns)
    return moved * inside[..., None]


def enlarged_batch(images: Tensor, boxes: Boxes) -> Tensor:
    """(B, H, W, 3): the box of each picture, bilinearly enlarged to the full size."""
    count, height, width, _ = images.shape
    pictures = torch.arange(count, device=images.device)
    rows, row_share = _sources(boxes.top, boxes.height, height)
    columns, column_share = _sources(boxes.left, boxes.width, width)
    next_rows = (rows + 1).minimum((boxes.top + boxes.height - 1)[:, None])
    next_columns = (columns + 1).minimum((boxes.left + boxes.width - 1)[:, None])
    above, below = (
        torch.lerp(
            gathered(images, pictures, one, columns),
            gathered(images, pictures, one, next_columns),
            column_share[:, None, :, None],
        )
        for one in (rows, next_rows)
    )
    return torch.lerp(above, below, row_share[:, :, None, None])


def gathered(images: Tensor, pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, H, W, 3): pixel (y, x) of result b is `images[pictures[b], rows[b, y], columns[b, x]]`; outside, the edge's.

    Shapes: `pictures` (B,), `rows` (B, H), `columns` (B, W).
    """
    rows, columns = rows.clamp(0, images.shape[1] - 1), columns.clamp(0, images.shape[2] - 1)
    return images[pictures[:, None, None], rows[:, :, None], columns[:, None, :]]


def _sources(start: Tensor, length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Places stretched over `length` pixels from `start`: the pixel before each (B, size), and how far on from it."""
    places = torch.arange(size, device=start.device) + 0.5
    exact = places * (length / size)[:, None] - 0.5
    exact = exact.clamp(min=0).minimum((length - 1)[:, None].to(exact.dtype))
    before = exact.floor()
    return before.long() + start[:, None], exact - before
