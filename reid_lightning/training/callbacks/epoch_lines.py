"""A line an epoch in the log: its losses, what was validated, and how long the rest will take."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from reid_lightning.training.module import ReIDModule

_log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """Logs "epoch 3/6: loss 2.310 (id 1.230, circle 1.080), mAP 54.9, rank-1 61.0; 0:12, 0:36 left" each epoch."""

    def __init__(self) -> None:
        self._began = self._epoch_began = 0.0
        self._first_step = 0
        self._validated: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What is left is estimated from the steps of this process."""
        self._began, self._first_step = time.monotonic(), trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing is validated yet."""
        self._epoch_began, self._validated = time.monotonic(), {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the figures in percent."""
        names = ("val/mAP", "val/rank-1")
        found = {name.removeprefix("val/"): trainer.callback_metrics.get(name) for name in names}
        self._validated = {name: 100 * float(value) for name, value in found.items() if value is not None}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the line, on rank zero."""
        assert isinstance(pl_module, ReIDModule)
        losses = pl_module.losses_of_epoch()
        if not trainer.is_global_zero or not losses:
            return
        terms = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "total")
        epochs = f"/{trainer.max_epochs}" if trainer.max_epochs not in (None, -1) else ""
        figures = "".join(f", {name} {value:.1f}" for name, value in self._validated.items())
        _log.info(
            "epoch %d%s: loss %.3f (%s)%s; %s, %s left",
            *(trainer.current_epoch + 1, epochs, losses["total"], terms, figures),
            *(_clock(time.monotonic() - self._epoch_began), self._left(trainer)),
        )

    def _left(self, trainer: pl.Trainer) -> str:
        done, total = trainer.global_step - self._first_step, trainer.estimated_stepping_batches
        if done < 1 or total == float("inf"):
            return "?"
        return _clock((time.monotonic() - self._began) / done * max(0, total - trainer.global_step))


class StepBar(RichProgressBar):
    """Lightning's bar for the steps of an epoch, in a terminal alone; the epochs' lines stay above it."""

    @property
    def is_enabled(self) -> bool:
        """Not in a file or a pipe."""
        return super().is_enabled and sys.stdout.isatty()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Without the version number of a logger."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def _clock(seconds: float) -> str:
    """0:12, 3:05, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
