"""Keeps last.ckpt, from which a run that was killed goes on as if it had not been."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from reid_lightning.errors import ReIDError
from reid_lightning.training.checkpoints import LAST_NAME
from reid_lightning.training.lightning_internals import between_steps, settings_of, validates_within_epoch

_log = logging.getLogger(__name__)


class LastCheckpoint(Checkpoint):
    """Saves every `every_n_steps` optimiser steps, after every validation, at the end of every epoch, and when the run
    is asked to stop.

    Only at moments from which the trainer goes on exactly. Lightning's ModelCheckpoint also saves while gradients are
    being accumulated, which a resumed run has not, and before the validation at the end of an epoch, which a resumed
    run then leaves out.

    Args:
        folder: gets `last.ckpt`.
        every_n_steps: what a killed run may lose.
    """

    def __init__(self, folder: str | Path, *, every_n_steps: int) -> None:
        if isinstance(every_n_steps, bool) or not isinstance(every_n_steps, int) or every_n_steps < 1:
            raise ReIDError(f"callbacks.last.every_n_steps is {every_n_steps!r}; expected a whole number of 1 or more.")
        super().__init__()
        self.path = Path(folder) / LAST_NAME
        self.every_n_steps = every_n_steps
        self._saved_step = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time."""
        if trainer.global_step % self.every_n_steps == 0 and between_steps(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a validation within an epoch, unless gradients wait for the rest of their step; the validation at
        its end is followed by `on_train_epoch_end`."""
        if not trainer.sanity_checking and validates_within_epoch(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what was validated."""
        self._save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save when the run was asked to stop, and say how to go on. Other exceptions leave the last checkpoint alone:
        they come at any moment."""
        if not isinstance(exception, SIGTERMException):
            return
        self._save(trainer)
        if trainer.is_global_zero:
            saved = trainer.default_root_dir if self.path.exists() else trainer.ckpt_path
            _log.warning("stopped after %d steps. To go on: reid train resume=%s", trainer.global_step, saved)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The step to go on from is saved already."""
        self._saved_step = checkpoint["global_step"]

    def _save(self, trainer: pl.Trainer) -> None:
        if trainer.global_step != self._saved_step and not settings_of(trainer).fast_dev_run:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved_step = trainer.global_step
