"""Pictures to tensors: one preprocessing for training, evaluation and the bundle, plus the training augmentation.

`Preprocessing` is data: it travels in the bundle's `opts.yaml`, so that search sees exactly what evaluation saw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_lightning.data.images.decoding import INTERPOLATIONS, decode, resize, resize_exactly
from reid_lightning.data.images.device_constants import constant
from reid_lightning.data.images.host_memory import batch_memory
from reid_lightning.data.images.reading import in_rgb, load_image
from reid_lightning.data.records import PicturePath
from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class Preprocessing:
    """Resize to `height` x `width` pixels, scale to [0, 1], normalise each RGB channel with `mean` and `std`.

    `resize`: "exact" is Pillow's decoder and its antialiased resize; "fast" takes a third of the time and is one level
    of 255 off at most (`decoding.py` says more).
    `train_scale`: in training the same with this share of height and width, see `for_training`; bundles do not say it.
    """

    height: int
    width: int
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    resize: str = "exact"
    train_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if not isinstance(getattr(self, name), int) or not 32 <= getattr(self, name) <= 4096:
                raise ReIDError(f"input.{name} is {getattr(self, name)!r}; expected a whole number from 32 to 4096.")
        if self.interpolation not in INTERPOLATIONS:
            raise ReIDError(
                f"input.interpolation is {self.interpolation!r}; expected one of {', '.join(INTERPOLATIONS)}."
            )
        if self.resize not in ("exact", "fast"):
            raise ReIDError(f"input.resize is {self.resize!r}; expected exact or fast.")
        if not isinstance(self.train_scale, int | float) or not 0.25 <= self.train_scale <= 1:
            raise ReIDError(f"input.train_scale is {self.train_scale!r}; expected a number from 0.25 to 1.")
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise ReIDError(f"input.{name} is {list(values)}; expected three numbers (RGB), std above zero.")
            object.__setattr__(self, name, values)  # a plain tuple, whatever sequence came from the configuration

    def for_training(self) -> Preprocessing:
        """What training pictures become: the same, smaller, but not below 32 pixels.

        Augmentation shows parts of a vehicle larger than they are, so that a network embeds best what is larger than
        what it was trained on; and training costs the square of the share. Source: Touvron et al., "Fixing the
        train-test resolution discrepancy", 2019.
        """
        height, width = (max(32, round(side * self.train_scale)) for side in (self.height, self.width))
        return replace(self, height=height, width=width, train_scale=1.0)

    def load(self, path: PicturePath) -> Tensor:
        """The file's picture, resized: uint8 (height, width, 3). `ReIDError` if it cannot be read."""
        return torch.from_numpy(self.load_fast(path) if self.resize == "fast" else self._resized(load_image(path)))

    def load_fast(self, path: PicturePath) -> np.ndarray:
        """As `load` with resize="fast"."""
        return resize(decode(path), self.height, self.width, interpolation=self.interpolation)

    def finish(self, images: Tensor) -> Tensor:
        """(B, height, width, 3) in levels from 0 to 255 -> float32 (B, 3, height, width), normalised.

        In memory it is channels_last.
        """
        count, height, width, _ = images.shape
        scale = constant(tuple(1 / (255 * std) for std in self.std) * width, images.device)
        shift = constant(
            tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True)) * width, images.device
        )
        levels = images.reshape(count * height, width * 3)  # broadcasting along whole rows, not three channels, is fast
        if images.device.type == "cpu":
            finished, rows = batch_memory(*levels.shape), height  # a picture at a time stays in the processor's cache
        else:
            finished, rows = torch.empty(levels.shape, device=images.device), len(levels)
        for some, target in zip(levels.split(rows), finished.split(rows), strict=True):
            torch.addcmul(shift, some.to(torch.float32), scale, out=target)
        return finished.view(images.shape).permute(0, 3, 1, 2)

    def __call__(self, image: Image.Image) -> Tensor:
        """A picture of any size, mode and EXIF orientation -> float32 (3, height, width): the numbers of its file."""
        pixels = self._resized(in_rgb(image))
        return self.finish(torch.from_numpy(pixels)[None])[0].contiguous()

    def as_dict(self) -> dict[str, object]:
        """Plain values for YAML; `Preprocessing(**values)` gives it back."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        if self.resize == "exact":  # unsaid: fingerprints of bundles from before there was a choice stay what they are
            del values["resize"]
        del values["train_scale"]
        return values

    def _resized(self, image: Image.Image) -> np.ndarray:
        """An RGB picture -> uint8 (height, width, 3)."""
        if self.resize == "fast":
            return resize(np.array(image), self.height, self.width, interpolation=self.interpolation)
        return resize_exactly(image, self.height, self.width, interpolation=self.interpolation)
