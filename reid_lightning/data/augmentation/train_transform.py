"""Preprocessing with augmentation before normalising."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reid_lightning.data.augmentation import BatchStep, PictureStep
from reid_lightning.data.images.cache import PictureCache
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import PicturePath
from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class TrainTransform:
    """Preprocessing with augmentation before normalising. Pictures are always read the fast way.

    Args:
        preprocessing: what evaluation and the bundle do as well.
        on_picture: steps by name, in order, for one resized picture in the loader's worker. null leaves a step out.
        on_batch: steps by name, in order, for the whole batch on the device.
        cache: where resized pictures are kept, if anywhere.
    """

    preprocessing: Preprocessing
    on_picture: Mapping[str, PictureStep | None] = field(default_factory=dict)
    on_batch: Mapping[str, BatchStep | None] = field(default_factory=dict)
    cache: PictureCache | None = None

    def __post_init__(self) -> None:
        for group, kind in (("on_picture", PictureStep), ("on_batch", BatchStep)):
            steps = {name: step for name, step in getattr(self, group).items() if step is not None}
            for name, step in steps.items():
                if not isinstance(step, kind):
                    raise ReIDError(
                        f"transforms.{group}.{name} is {step!r}, which has no method {group}; put it into the other "
                        "group, or take a step of reid_lightning.data.augmentation."
                    )
            object.__setattr__(self, group, steps)

    def load(self, path: PicturePath, key: int) -> Tensor:
        """The file's picture, changed as `key` alone decides: uint8 (height, width, 3)."""
        read = self.preprocessing.load_fast
        pixels = read(path) if self.cache is None else self.cache.get(path, read)
        draw = random.Random(key)
        for step in self.on_picture.values():
            if step is not None:
                pixels = step.on_picture(pixels, draw)
        return torch.from_numpy(pixels)

    def finish(self, images: Tensor, *, key: int) -> Tensor:
        """uint8 (B, height, width, 3) on the device -> changed as `key` decides, normalised, as `Preprocessing.finish`.

        That is float32 (B, 3, height, width), channels_last in memory.
        """
        if self.on_batch:
            generator = torch.Generator(images.device).manual_seed(key)
            images = images.to(torch.float32)
            for step in self.on_batch.values():
                if step is not None:
                    images = step.on_batch(images, generator)
        return self.preprocessing.finish(images)
