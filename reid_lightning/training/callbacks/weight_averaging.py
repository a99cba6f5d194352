"""Exponential moving average (EMA) of the weights: what is validated, kept and exported is the average of the last
steps, which is smoother and usually better than any one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.training.lightning_internals import OpenWeightAveraging

_LIVE_WEIGHTS = "current_model_state"  # where Lightning's WeightAveraging puts the weights that training goes on with


class MovingAverage(OpenWeightAveraging):
    """After each optimiser step t = 1, 2, ...: average <- d_t average + (1 - d_t) weights, d_t as `decay_at` says.

    The running statistics of the network's batch norms are averaged like its weights: those of an average network are,
    to first order, the average of the networks' statistics, while the latest ones belong to the latest weights.
    Counters and the loss's own buffers (a memory of embeddings) have no meaningful average and are copied.

    Validation runs on the average, and a checkpoint's `state_dict` is the average, so that best.ckpt and the bundle are
    what was measured. The weights that training goes on with are in the checkpoint as well; a resumed run continues
    both. Source of the arithmetic and of the checkpoint's layout: Lightning's `WeightAveraging`, whose own update waits
    for the device in every step and keeps the average on the CPU.

    Args:
        decay: d_t of a long run. 0.999 averages over about the last 1,000 steps.
    """

    def __init__(self, *, decay: float) -> None:
        if isinstance(decay, bool) or not isinstance(decay, float) or not 0 < decay < 1:
            raise ReIDError(f"callbacks.ema.decay is {decay!r}; expected a number between 0 and 1, such as 0.999.")
        super().__init__()
        self.decay = decay
        self._swapped = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the weights to where they will be trained."""
        self.use_device(trainer)
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average after each optimiser step; batches that only gather gradients change nothing."""
        if self.is_new_step(trainer.global_step):
            move_average(self.average, pl_module, decay=decay_at(trainer.global_step, limit=self.decay))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the average."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the live weights."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """A run that breaks off during validation: put the two back, before any checkpoint of it is written."""
        if self._swapped:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Nothing yet: a checkpoint that is written now must still tell the average from the live weights."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average in the module."""
        self.leave_average(pl_module)


def decay_at(step: int, *, limit: float) -> float:
    """min(limit, (1 + step) / (10 + step)): an early average forgets the random weights it started from.

    Until the limit is reached the average covers about the last ninth of the steps, however short the run. Source:
    TensorFlow's ExponentialMovingAverage (`num_updates`).
    """
    return min(limit, (1 + step) / (10 + step))


@torch.no_grad()
def move_average(average: nn.Module, live: nn.Module, *, decay: float) -> None:
    """average <- decay average + (1 - decay) live, for all parameters and for the float buffers of `model`; other
    buffers are copied. Two modules with a `model`, otherwise alike. The device is not waited for."""
    averaged: list[tuple[Tensor, Tensor]] = list(zip(average.parameters(), live.parameters(), strict=True))
    copied: list[tuple[Tensor, Tensor]] = []
    for (name, ours), theirs in zip(average.named_buffers(), live.buffers(), strict=True):
        is_statistic = name.startswith("model.") and ours.is_floating_point()
        (averaged if is_statistic else copied).append((ours, theirs))
    torch._foreach_lerp_(*_columns(averaged), 1 - decay)
    if copied:
        torch._foreach_copy_(*_columns(copied))


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    ours, theirs = zip(*pairs, strict=True)
    return list(ours), list(theirs)


def check_averaging(checkpoint: Mapping[str, Any], callbacks: Sequence[pl.Callback]) -> None:
    """ReIDError when the run of `checkpoint` averaged its weights and this one, which resumes it, would not: it would
    go on from the average, with an optimiser that belongs to other weights."""
    if _LIVE_WEIGHTS in checkpoint and not any(isinstance(callback, MovingAverage) for callback in callbacks):
        raise ReIDError(
            "the checkpoint is of a run with callbacks=ema, whose weights were averaged; resume it with callbacks=ema."
        )
