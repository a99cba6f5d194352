"""Pictures to tensors: one preprocessing for training, evaluation and the bundle, plus the training augmentation.

`Preprocessing` is data: it travels in the bundle's `opts.yaml`, so that search sees exactly what training saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_lightning.data.images import in_rgb, load_image, upright
from reid_lightning.errors import ReIDError

_INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize to `height` x `width` pixels, scale to [0, 1], normalise each RGB channel with `mean` and `std`."""

    height: int
    width: int
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if not isinstance(getattr(self, name), int) or not 32 <= getattr(self, name) <= 4096:
                raise ReIDError(f"input.{name} is {getattr(self, name)!r}; expected a whole number from 32 to 4096.")
        if self.interpolation not in _INTERPOLATIONS:
            raise ReIDError(
                f"input.interpolation is {self.interpolation!r}; expected one of {', '.join(_INTERPOLATIONS)}."
            )
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != 3 or (name == "std" and min(values) <= 0):
                raise ReIDError(f"input.{name} is {list(values)}; expected three numbers (RGB), std above zero.")
            object.__setattr__(self, name, values)  # a plain tuple, whatever sequence came from the configuration

    def resize(self, image: Image.Image) -> Tensor:
        """A picture of any size, mode and EXIF orientation -> uint8 tensor (height, width, 3)."""
        resized = in_rgb(upright(image)).resize((self.width, self.height), _INTERPOLATIONS[self.interpolation])
        return torch.from_numpy(np.array(resized))

    def load(self, path: Path) -> Tensor:
        """The file's picture -> uint8 tensor (height, width, 3)."""
        return self.resize(load_image(path))

    def finish(self, images: Tensor) -> Tensor:
        """uint8 (batch, height, width, 3) -> float32 (batch, 3, height, width), channels_last in memory, normalised."""
        mean = torch.tensor(self.mean, device=images.device)
        std = torch.tensor(self.std, device=images.device)
        return ((images.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)

    def __call__(self, image: Image.Image) -> Tensor:
        """A picture of any size -> float32 tensor (3, height, width): what `load` and `finish` make of its file."""
        return self.finish(self.resize(image)[None])[0].contiguous()

    def as_dict(self) -> dict[str, object]:
        """Plain values for YAML; `Preprocessing(**values)` gives it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class TrainTransform:
    """Preprocessing with augmentation between its two halves.

    Args:
        preprocessing: what evaluation and the bundle do as well.
        on_pixels: transforms of the resized uint8 picture (3, height, width), in order.
    """

    def __init__(self, preprocessing: Preprocessing, *, on_pixels: Sequence[Callable[[Tensor], Tensor]] = ()) -> None:
        self.preprocessing = preprocessing
        self.on_pixels = tuple(on_pixels)

    def load(self, path: Path, key: int) -> Tensor:
        """The file's picture, augmented as `key` decides -> uint8 tensor (height, width, 3)."""
        pixels = self.preprocessing.load(path).permute(2, 0, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key)
            for transform in self.on_pixels:
                pixels = transform(pixels)
        return pixels.permute(1, 2, 0).contiguous()

    def finish(self, images: Tensor, *, key: int) -> Tensor:
        """uint8 (batch, height, width, 3) -> float32 (batch, 3, height, width), channels_last in memory, normalised."""
        return self.preprocessing.finish(images)
