"""Whitened start: a reduction begins at what the training pictures say of themselves, not at random."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from reid_lightning.data.batches.sampler import mixed
from reid_lightning.data.records import Split, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.models.whitening import pooled_features, scatter, start_reduction
from reid_lightning.training.datamodule import ReIDDataModule, datamodule_of

_log = logging.getLogger(__name__)


class WhitenedStart(pl.Callback):
    """Before the first step, `start_reduction` from about `pictures` training pictures, without augmentation.

    Networks without a reduction (model.embedding_dim=null) or a neck start as they are, and so does a run that goes on.
    Under DDP one process looks at the pictures for all.
    """

    def __init__(self, *, pictures: int) -> None:
        if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 2:
            raise ReIDError(f"a whitened start from {pictures!r} pictures: expected a whole number, 2 or more")
        self.pictures = pictures

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the pictures, and set the reduction and the neck."""
        model: Any = pl_module.model
        whitens = isinstance(model.reduction, torch.nn.Linear) and isinstance(model.neck, torch.nn.BatchNorm1d)
        if trainer.ckpt_path is not None or not whitens:
            return
        if trainer.is_global_zero:
            datamodule = datamodule_of(trainer)
            images = _some(datamodule, self.pictures)
            _log.info("the reduction starts at directions found in %d training pictures", len(images))
            batches = (datamodule.preprocessing.finish(batch.images) for batch in datamodule.plain_loader(images))
            labels = torch.tensor([datamodule.numbering["identity"][image.identity] for image in images])
            start_reduction(model, scatter(pooled_features(model, batches), labels))
        parts = [model.reduction, model.neck]
        states = trainer.strategy.broadcast([part.state_dict() for part in parts])
        for part, state in zip(parts, states, strict=True):  # to the bit, whatever processors the ranks run on
            part.load_state_dict(state)


def _some(datamodule: ReIDDataModule, count: int) -> Split:
    """Whole vehicles, drawn at random, until there are as many pictures."""
    of_vehicle: dict[str, list[VehicleImage]] = {}
    for image in datamodule.dataset.train:
        of_vehicle.setdefault(image.identity, []).append(image)
    names = sorted(of_vehicle)
    order = np.random.default_rng(mixed(datamodule.seed, 2)).permutation(len(names))
    images: list[VehicleImage] = []
    for position in order:
        if len(images) >= count:
            break
        images += of_vehicle[names[position]]
    return tuple(images)
