"""Stops a job of a sweep whose validation falls behind that of the others."""

from __future__ import annotations

import logging

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.jobs import place_in_sweep
from reid_lightning.sweeps.pruning import HISTORY, Verdict, median_rule, read_history, write_history
from reid_lightning.training.lightning_internals import settings_of

_log = logging.getLogger(__name__)


class PruneBelowMedian(pl.Callback):
    """Apply the median stopping rule after each validation; outside of a sweep it never stops anything.

    A pruned job ends as an early stopped one does: with its best checkpoint, its bundle and its metrics.

    Args:
        monitor: the logged value to compare, higher is better.
        warmup_epochs: epochs in which no job is stopped.
        min_jobs: other jobs that must have come as far, so that their median means something.
    """

    def __init__(self, *, monitor: str, warmup_epochs: int, min_jobs: int) -> None:
        self.monitor = monitor
        self.warmup_epochs = warmup_epochs
        self.min_jobs = min_jobs

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what an earlier run in this folder has kept from here on."""
        place = place_in_sweep()
        if place is not None and trainer.is_global_zero:
            values = read_history(place.folder / HISTORY)
            write_history(place.folder / HISTORY, {at: one for at, one in values.items() if at < trainer.current_epoch})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rank zero reads the other jobs and decides for all ranks."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or settings_of(trainer).fast_dev_run:
            return
        verdict = self._judge(trainer) if trainer.is_global_zero else None
        if trainer.strategy.broadcast(verdict is not None):
            trainer.should_stop = True

    def _judge(self, trainer: pl.Trainer) -> Verdict | None:
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise ReIDError(f"callbacks.prune.monitor={self.monitor} is not logged; there is {known}.")
        place = place_in_sweep()
        if place is None:
            return None
        epoch = trainer.current_epoch
        values = read_history(place.folder / HISTORY) | {epoch: float(trainer.callback_metrics[self.monitor])}
        verdict = None
        last = epoch + 1 == trainer.max_epochs  # when there is nothing left to save
        if epoch >= self.warmup_epochs and not last:
            others = [read_history(path) for path in place.siblings(HISTORY)]
            verdict = median_rule(values, others, epoch=epoch, min_jobs=self.min_jobs)
        write_history(place.folder / HISTORY, values, verdict)
        if verdict is not None:
            _log.warning("pruned: %s", verdict)
        return verdict
