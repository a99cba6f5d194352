"""Clock of training alone: wall seconds, and CPU seconds of a process together with its loader's workers.

In a run of train.py: +callbacks.clock._target_=training_clock.TrainingClock +callbacks.clock.path=<file>.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch


@dataclass(frozen=True)
class Reading:
    """Seconds on the wall, seconds of all cores together, and the optimiser steps taken meanwhile."""

    wall_s: float
    cpu_s: float
    steps: int


class Clock:
    """Counts from its construction on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds_of_family()

    def read(self, *, steps: int) -> Reading:
        """What has passed since the construction, in `steps` steps, the accelerator's work included."""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return Reading(time.perf_counter() - self._wall, cpu_seconds_of_family() - self._cpu, steps)


class TrainingClock(pl.Callback):
    """From the start of `fit`, before the loader's workers are born, to the end of the last training step.

    What lies between the steps counts as well; a run that is to be compared is therefore validated once, behind its
    last step (`trainer.check_val_every_n_epoch`). The reading goes to `path`.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._clock = Clock()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Read behind the last step."""
        if trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs:
            reading = self._clock.read(steps=trainer.global_step)
            self._path.write_text(json.dumps(asdict(reading)), encoding="utf-8")


def cpu_seconds_of_family() -> float:
    """User and system time of this process, of its living descendants, and of those that ended and were waited for."""
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        children[int(fields[1])].append(int(entry.name))
        ticks[int(entry.name)] = sum(map(int, fields[11:15]))  # utime, stime, and both of the children waited for
    family = [os.getpid()]
    for process in family:
        family += children[process]
    return sum(ticks[process] for process in family) / os.sysconf("SC_CLK_TCK")
