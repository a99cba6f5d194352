"""What of a training command can be refused before anything is read, drawn or downloaded."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from reid_lightning.acceleration import check_clipping, check_precision, check_sync_batchnorm
from reid_lightning.cli import check_writable
from reid_lightning.distributed import check_accelerator, check_run_dir
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel


def check_config(cfg: DictConfig) -> None:
    """ReIDError for a run directory, an accelerator or a precision that cannot work."""
    check_run_dir()
    check_writable(Path(cfg.run_dir))
    check_accelerator(cfg.trainer.accelerator, cfg.trainer.devices)
    check_precision(cfg.trainer.precision)
    fused = bool(cfg.optimizer.get("fused"))
    check_clipping(cfg.trainer.precision, clip=cfg.trainer.gradient_clip_val, fused=fused)


def check_trainer(trainer: pl.Trainer, model: ReIDModel, *, sync_batchnorm: bool) -> None:
    """ReIDError for limits and for synchronised batch norms that would fail, or lie, in the middle of the run."""
    check_limits(trainer)
    if sync_batchnorm:
        check_sync_batchnorm(model, device=trainer.strategy.root_device, world_size=trainer.world_size)


def check_limits(trainer: pl.Trainer) -> None:
    """ReIDError for limits of the trainer that validation, or the order of batches, cannot keep."""
    if trainer.overfit_batches > 0:
        raise ReIDError("trainer.overfit_batches is not supported; train on a data set of a few pictures instead.")
    if trainer.limit_val_batches != 1.0 and not trainer.fast_dev_run:
        raise ReIDError(
            f"trainer.limit_val_batches is {trainer.limit_val_batches}: a ranking needs all pictures. Leave it out, or "
            "validate less often with trainer.check_val_every_n_epoch."
        )
