"""What the embeddings of the validation pictures are worth, whenever the trainer validates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from reid_lightning.bundle.model_card import CHOSEN_ON, MEASURED_ON, VALIDATION_MAP
from reid_lightning.evaluation.metrics import EmbeddingMetric, RetrievalMetric
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.training.datamodule import datamodule_of
from reid_lightning.training.lightning_internals import settings_of
from reid_lightning.training.loggers import log_best


class ValidationMetric(pl.Callback):
    """Logs the values of a metric as `val/<name>`.

    Args:
        metric: makes an `EmbeddingMetric`, called with `RankingLabels`.
    """

    def __init__(self, metric: Callable[..., EmbeddingMetric]) -> None:
        self.make_metric = metric
        self.metric: Any = None  # from `setup` on
        self._measured_at = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take identities and cameras from the data module."""
        self.metric = self.make_metric(**ranking_labels(datamodule_of(trainer).divided.validation))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the embeddings of the last validation."""
        self.metric.to(pl_module.device)
        self.metric.reset()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the embeddings of a batch."""
        self.metric.update(outputs["embeddings"], outputs["rows"])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rank and log; a debugging run has seen too few pictures for that."""
        if trainer.sanity_checking or settings_of(trainer).fast_dev_run:
            return
        values = self.metric.compute()
        self._measured_at = trainer.global_step
        for name, value in values.items():  # every rank computed the same numbers
            pl_module.log(f"val/{name}", float(value), prog_bar=name == "mAP")


class RetrievalMetrics(ValidationMetric):
    """Logs `val/mAP`, `val/mINP` and `val/rank-k`, and puts the metrics into every checkpoint; those of the best epoch,
    with confidence intervals, into the summary of a logger that has one.

    Args:
        ranks: places of the CMC.
    """

    def __init__(self, *, ranks: Sequence[int] = (1, 5, 10)) -> None:
        super().__init__(partial(RetrievalMetric, ranks=tuple(ranks)))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the checkpoint of this epoch is compared with the best one."""
        measured = self.metric.result is not None and self._measured_at == trainer.global_step
        if measured and trainer.is_global_zero and is_best_epoch(trainer):
            log_best(trainer.loggers, self.metric.result, epoch=trainer.current_epoch)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the metrics of these weights beside them, where these have been measured."""
        if self.metric is None or self.metric.result is None or self._measured_at != trainer.global_step:
            return
        record, divided = checkpoint.setdefault("reid", {}), datamodule_of(trainer).divided
        record["data"] = choice_of(trainer)
        if divided.on_test:
            record["metrics"] = self.metric.result.as_dict()
        else:
            record["data"][VALIDATION_MAP] = self.metric.result.mAP


def choice_of(trainer: pl.Trainer) -> dict[str, str]:
    """On which pictures the best epoch is chosen; where the run validates but one, nothing is, and that one is measured
    on them."""
    settings = settings_of(trainer)
    every, epochs = settings.check_val_every_n_epoch, settings.max_epochs
    once = every is not None and settings.val_check_interval == 1.0 and 0 <= (epochs or -1) < 2 * every
    return {MEASURED_ON if once else CHOSEN_ON: datamodule_of(trainer).divided.chosen_on}


def is_best_epoch(trainer: pl.Trainer) -> bool:
    """Whether the epoch that was just validated will be the one to export, for all that is known by now: of equal ones
    the later, which has learned longer."""
    checkpoint = trainer.checkpoint_callback
    if not isinstance(checkpoint, ModelCheckpoint) or checkpoint.monitor is None:
        return False
    before, now = checkpoint.best_model_score, trainer.callback_metrics.get(checkpoint.monitor)
    if now is None or before is None:
        return now is not None
    return bool(now >= before if checkpoint.mode == "max" else now <= before)
