"""Every use of a name that Lightning keeps to itself, with the reason: what to look at for another release of it."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import nn

for _message in (
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 calls what torch 2.12 deprecates, once in every worker
    r"Checkpoint directory .* exists and is not empty",  # a run that goes on
    r".*does not have many workers",  # loader.num_workers is a choice
    r"It is recommended to use `self\.log\(.*sync_dist=True",  # each rank computes the figures of all of them
    r"Found \d+ module\(s\) in eval mode",  # frozen statistics and frozen layers are choices
    r"The number of training batches \(\d+\) is smaller than the logging interval",  # each epoch has its line
):
    warnings.filterwarnings("ignore", message=_message)


def settings_of(trainer: pl.Trainer) -> Any:
    """The trainer with all its attributes. Reason: its connectors set callbacks, fast_dev_run, datamodule and others,
    of which its own type says nothing."""
    return trainer


def between_steps(trainer: pl.Trainer) -> bool:
    """Whether, at the end of a batch, a checkpoint holds all that the run goes on with: no gradient waits for the rest
    of its optimiser step, and neither a validation nor the end of the epoch is still to come for this batch.

    Reason: no public name says what the loop will do after the hooks of a batch.
    """
    loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
    assert fetcher is not None, "a batch has come from it"
    return not (loop._should_accumulate() or loop._is_training_done or loop._should_check_val_fx(fetcher))


def validates_within_epoch(trainer: pl.Trainer) -> bool:
    """Whether a validation that has just ended is one from which the run goes on: within an epoch, without gradients
    that wait. Reason: as above."""
    loop = trainer.fit_loop.epoch_loop
    return not (loop._num_ready_batches_reached() or loop._should_accumulate())


def restore_loader_place(trainer: pl.Trainer) -> None:
    """Give the loader its place in the epoch. Reason: the trainer does so when it asks for the loader, which a schedule
    has made it do before the checkpoint was read, to count the steps."""
    trainer.fit_loop._load_combined_loader_states()


def logged_step(trainer: pl.Trainer) -> int:
    """The step under which loggers file what belongs to this batch. Reason: `global_step` is one more after it."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def row_to_come(trainer: pl.Trainer) -> dict[str, Any]:
    """What the trainer is about to log of this step; nothing outside `on_train_batch_end`. Reason: it logs only after a
    checkpoint of this moment is saved, and the row must be on the disk before."""
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    connector = trainer._logger_connector
    in_batch_end = trainer.training and batches.completed < batches.processed
    if not in_batch_end or trainer.fit_loop._should_accumulate() or not connector.should_update_logs:
        return {}
    values = connector.metrics["log"]
    return {"epoch": trainer.current_epoch, **values} if values else {}


def leave_out_sigterm_vote(trainer: pl.Trainer) -> None:
    """Reason: Lightning's own vote of the ranks before every batch waits for the device; `Preemption` has another."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def starts_its_ranks(trainer: pl.Trainer) -> bool:
    """Whether the trainer has a launcher that starts the other ranks by the command line. Reason: its class alone says
    so."""
    return trainer.world_size > 1 and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)


def wandb_arguments(logger: WandbLogger) -> dict[str, Any]:
    """What `wandb.init` will be called with, to be changed. Reason: the logger always adds `anonymous`, of which W&B
    warns, and its mode is fixed before anybody knows whether the server is there."""
    return logger._wandb_init


class OpenWeightAveraging(WeightAveraging):
    """Lightning's averaging with its average in public. Reason: its own update waits for the device in every step."""

    def use_device(self, trainer: pl.Trainer) -> None:
        """Make the copy where the weights will be trained: in `setup` the module itself is still on the CPU."""
        self._device = trainer.strategy.root_device

    @property
    def average(self) -> nn.Module:
        """The averaged module."""
        assert self._average_model is not None, "before setup"
        module: nn.Module = self._average_model.module
        return module

    def is_new_step(self, step: int) -> bool:
        """Whether this step is not in the average yet; it is from then on, and a checkpoint says so."""
        new = step > self._latest_update_step
        self._latest_update_step = max(step, self._latest_update_step)
        return new

    def leave_average(self, pl_module: pl.LightningModule) -> None:
        """Put the average into the module."""
        self._copy_average_to_current(pl_module)
