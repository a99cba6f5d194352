"""Pictures for the loggers that show them, small enough to look at many runs at once."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from reid_lightning.data.images.reading import load_image

LONGEST_SIDE = 1200
MOST_BYTES = 300_000
_QUALITIES = (85, 70, 50)


def log_picture(trainer: pl.Trainer, tag: str, path: Path) -> None:
    """Hand a picture to W&B and TensorBoard as a small JPEG, at the step of the last validation."""
    loggers = [one for one in trainer.loggers if isinstance(one, WandbLogger | TensorBoardLogger)]
    if not loggers:
        return
    step, small = max(trainer.global_step - 1, 0), small_jpeg(path)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
                file.write(small)
                file.flush()
                logger.log_image(tag, [file.name], step=step)
        else:
            logger.experiment.add_image(tag, np.asarray(Image.open(io.BytesIO(small))), step, dataformats="HWC")
            logger.experiment.flush()


def small_jpeg(path: Path) -> bytes:
    """A picture as a JPEG of at most LONGEST_SIDE pixels and MOST_BYTES: of lower quality, and if need be fewer pixels,
    where it holds too much."""
    picture = load_image(path)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    while True:
        for quality in _QUALITIES:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
            if file.tell() <= MOST_BYTES:
                return file.getvalue()
        picture = picture.reduce(2)
