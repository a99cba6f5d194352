"""Keeps the best checkpoints of a run and exports their average in the place of the best one."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from reid_lightning.bundle import bundle
from reid_lightning.errors import ReIDError
from reid_lightning.training.average_checkpoints import average_checkpoints
from reid_lightning.training.callbacks.export_best import describe_training


class AverageCheckpoints(ModelCheckpoint):
    """Export the average of the `count` best epochs into `folder` when training ends.

    The average has not been measured when it is written: its card carries no metrics until it is evaluated.

    Args:
        folder: gets the bundle, in the place of what another callback exported there.
        dirpath: gets the checkpoints, one for each of the epochs that are averaged.
        monitor: what makes an epoch good, the more the better; "epoch" averages the last ones.
        count: checkpoints to keep and average.
    """

    def __init__(self, folder: str | Path, *, dirpath: str | Path, monitor: str, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 2:
            raise ReIDError(f"callbacks.average.count is {count!r}; expected a whole number of 2 or more.")
        super().__init__(
            dirpath=dirpath,
            filename="epoch_{epoch:03d}",
            auto_insert_metric_name=False,
            monitor=monitor,
            mode="max",
            save_top_k=count,
            enable_version_counter=False,
        )
        self.folder = Path(folder)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs on rank zero only, after the other callbacks; does nothing after a debugging run."""
        if not trainer.is_global_zero or not self.best_k_models:
            return
        averaged = average_checkpoints(sorted(self.best_k_models))
        bundle.save_bundle(
            self.folder,
            averaged.model,
            averaged.options.preprocessing,
            metrics=averaged.options.metrics,
            data={
                **describe_training(trainer, pl_module.model),
                "averaged epochs": len(self.best_k_models),
            },
        )
