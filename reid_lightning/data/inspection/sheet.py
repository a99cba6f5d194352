"""A sheet of augmented samples, to look at before training: a picture a row, plain first, then as training sees it.

`reid data augmentation_sheet` takes the arguments of train.py, and output=, pictures=, draws=.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import PicturePath, Split
from reid_lightning.errors import ReIDError

_SIDE = 128  # pixels; smaller pictures are enlarged by a whole number up to it
_GAP, _TITLE, _LINE = 4, 24, 15


def check_request(output: Path, *, pictures: int, draws: int) -> None:
    """`ReIDError` for what cannot be drawn, before any data is read."""
    for name, value in (("pictures", pictures), ("draws", draws)):
        if not isinstance(value, int) or value < 1:
            raise ReIDError(f"{name} is {value!r}; expected a whole number of 1 or more.")
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ReIDError(f"output is {output}; expected a name that ends in .png or .jpg.")


def spread(images: Split, count: int) -> list[PicturePath]:
    """`count` paths (or all, if fewer), evenly spread over the records; `ReIDError` if there are none."""
    if not images:
        raise ReIDError("the data set holds no training pictures, so there is nothing to draw; check data=.")
    count = min(count, len(images))
    return [images[place * len(images) // count].path for place in range(count)]


def augmented_columns(
    paths: Sequence[PicturePath],
    transform: TrainTransform,
    *,
    draws: int,
    seed: int,
    track: Callable[[range], Iterable[int]],
) -> list[np.ndarray]:
    """uint8 (pictures, H, W, 3) each: the plain pictures, then `draws` times what training makes of them as one batch.

    `track` goes around the loop over the draws, to show progress.
    """
    keys = random.Random(seed)
    preprocessing = transform.preprocessing
    columns = [np.stack([preprocessing.load_fast(path) for path in paths])]
    for _ in track(range(draws)):
        images = torch.stack([transform.load(path, keys.getrandbits(64)) for path in paths])
        columns.append(_levels(transform.finish(images, key=keys.getrandbits(64)), preprocessing))
    return columns


def draw_sheet(columns: Sequence[np.ndarray], *, title: str, lines: Sequence[str]) -> Image.Image:
    """The columns side by side below a bar with the title and the lines, which are broken where they are too long."""
    count, height, width, _ = columns[0].shape
    scale = max(1, _SIDE // max(height, width))
    across, down = width * scale + _GAP, height * scale + _GAP
    sheet_width = max(len(columns) * across + 2 * _GAP, 480)  # room for the title
    font = ImageFont.load_default(size=11)
    characters = int((sheet_width - 2 * _GAP) / font.getlength("n"))
    lines = [part for line in lines for part in textwrap.wrap(line, characters, subsequent_indent="    ")]
    header = _TITLE + len(lines) * _LINE + _GAP
    sheet = Image.new("RGB", (sheet_width, header + count * down), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 2), title, fill="#222222", font=ImageFont.load_default(size=15))
    for number, line in enumerate(lines):
        draw.text((_GAP, _TITLE + number * _LINE), line, fill="#777777", font=font)
    for column, pictures in enumerate(columns):
        left = _GAP + column * across + (_GAP if column else 0)  # a wider gap behind the plain pictures
        for row, pixels in enumerate(pictures):
            picture = Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, header + row * down))
    return sheet


def describe(transform: TrainTransform) -> list[str]:
    """A line for each step: its name and settings."""
    return [
        f"{group}.{name}: {step}"
        for group in ("on_picture", "on_batch")
        for name, step in getattr(transform, group).items()
    ] or ["no augmentation"]


def _levels(images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
    """Normalised (B, 3, H, W) -> the uint8 (B, H, W, 3) that they were."""
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    return (255 * (images.permute(0, 2, 3, 1) * std + mean)).round().clamp(0, 255).to(torch.uint8).numpy()
