"""Lets a run that is asked to stop finish its step, save and leave, with all its processes at the same step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed

from reid_lightning.training.lightning_internals import between_steps, leave_out_sigterm_vote, settings_of

_STOPS = (signal.SIGTERM, signal.SIGINT)
_FINISHING = b"\nfinishing this step; Ctrl+C again stops at once\n"


class Preemption(Checkpoint):
    """Puts off what Lightning does on a signal until no step is under way, on any rank.

    SIGTERM (a scheduler takes the machine back) and the first Ctrl+C end the run after the step: `LastCheckpoint`
    saves, and the process leaves with 128 + signal (143, 130), which schedulers know. The signal with which SLURM
    announces the end of a job's time (SIGUSR1) makes Lightning save and requeue the job. Lightning itself does both in
    the middle of whatever the process is doing, be it half of an optimiser's step or another rank's collective.

    Ranks agree by a vote after every batch, which is counted when the next batch is queued, so that no device idles.
    A `Checkpoint`, because those run after all other callbacks: what is saved here has their part of the step.
    """

    def __init__(self) -> None:
        self._received = 0
        """The signal that this process was sent; the larger number wins, and SIGTERM is the largest."""
        self._agreed = 0
        self._ballot = torch.zeros(())
        self._counted: torch.Event | None = None
        self._deferred: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._requeued = False
        self._process = os.getpid()
        self._speaks = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the place of the handlers that Lightning has just installed; it removes them all when training ends."""
        self._process = os.getpid()
        self._speaks = trainer.is_global_zero
        if trainer.world_size > 1:
            leave_out_sigterm_vote(trainer)
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            handler = signal.getsignal(number)
            if callable(handler):  # SIGINT may be ignored, and SIGUSR1 has one under SLURM only
                self._deferred[number] = handler
                signal.signal(number, self._receive)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A signal that came during validation; the end of the epoch has been saved."""
        self._agree(trainer)
        self._agree(trainer)
        if self._agreed in _STOPS:
            raise SIGTERMException
        self._requeue()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Now or, within an accumulated step or before a validation, a little later."""
        self._agree(trainer)
        if not self._agreed or not between_steps(trainer):
            return
        if self._agreed in _STOPS:
            self._deferred[signal.SIGTERM](signal.SIGTERM, None)  # the trainer raises when it has logged this batch
        self._requeue()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Set the status that the process leaves with."""
        if isinstance(exception, SIGTERMException):
            started_by_first = trainer.local_rank > 0 and isinstance(
                settings_of(trainer).strategy.cluster_environment, LightningEnvironment
            )  # the first process is killed when one that it started leaves with another status than 0
            exception.code = 0 if started_by_first else 128 + self._agreed

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader process, which inherits handlers and ends with this one
            return
        self._received = max(self._received, number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._speaks:
                os.write(2, _FINISHING)

    def _agree(self, trainer: pl.Trainer) -> None:
        """Count the last vote and cast the next one."""
        if trainer.world_size == 1:
            self._agreed = self._received
            return
        if self._counted is not None:
            self._counted.synchronize()
        self._agreed = int(self._ballot)
        device = trainer.strategy.root_device
        ballot = torch.full((), self._received, device=device)
        distributed.all_reduce(ballot, op=distributed.ReduceOp.MAX)
        self._ballot = ballot.to("cpu", non_blocking=True)
        if device.type != "cpu":
            self._counted = torch.Event(device.type)
            self._counted.record()

    def _requeue(self) -> None:
        """Save and requeue, once: the ranks are sent the signal at different times."""
        if self._agreed == signal.SIGUSR1 and not self._requeued:
            self._requeued = True
            self._deferred[signal.SIGUSR1](signal.SIGUSR1, None)
