"""A picture and a batch to augment, and boxes in them."""

from __future__ import annotations

import numpy as np
import torch

from reid_lightning.data.augmentation import ColourJitter
from reid_lightning.data.augmentation.boxes import Box, Boxes

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
IMAGES = torch.randint(0, 256, (5, 20, 30, 3), generator=torch.Generator().manual_seed(1)).float()
MEAN = (0.485, 0.456, 0.406)
JITTER = ColourJitter(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_boxes() -> tuple[list[Box], Boxes]:
    boxes = [Box(0, 0, 20, 30), Box(3, 5, 11, 17), Box(19, 29, 1, 1), Box(0, 12, 20, 9), Box(8, 0, 1, 30)]
    return boxes, Boxes(*torch.tensor(boxes).T)
