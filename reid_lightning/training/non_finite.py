"""Stops or skips a step whose loss is not a number, and says which term and which pictures it was.

Left alone, one such step turns every weight into nan, and the run goes on for hours with nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, distributed

from reid_lightning.atomic import write_atomically
from reid_lightning.errors import ReIDError
from reid_lightning.losses.weighted_sum import TOTAL, non_finite_terms
from reid_lightning.untrusted.names import readable

LIST_NAME = "non_finite_batch.txt"

_NAMED = 5


def all_finite(values: Mapping[str, Tensor]) -> Tensor:
    """Whether every value is finite on every rank: a bool tensor () on the values' device. All ranks must call it."""
    finite = torch.stack([value.detach().float() for value in values.values()]).isfinite().all()
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        shared = finite.int()
        distributed.all_reduce(shared, op=distributed.ReduceOp.MIN)
        return shared.bool()
    return finite


def non_finite_error(
    values: Mapping[str, Tensor],
    *,
    step: int,
    epoch: int,
    pictures: Sequence[Path],
    weights_finite: bool | None,
    folder: Path,
) -> ReIDError:
    """The error of a run that stops: the term, the step, the pictures (all of them go into a list in `folder`) and
    what usually helps. `weights_finite`: whether the weights were before this step; None: not known any more."""
    bad = non_finite_terms(values)
    bad = [name for name in bad if name != TOTAL] or bad  # the sum only follows
    if not bad:
        return ReIDError(f"the loss was not finite on another rank at step {step}; its message names the pictures.")
    shown = ", ".join(f"{name}={float(value):.4g}" for name, value in values.items())
    write_atomically(folder / LIST_NAME, "".join(f"{readable(str(picture))}\n" for picture in pictures))
    names = ", ".join(str(path) for path in pictures[:_NAMED]) + (", ..." if len(pictures) > _NAMED else "")
    pictures_or_settings = "look at these pictures and at the term's settings (margin, gamma, scale)"
    rates = "lower optimizer.lr, lengthen scheduler.warmup or set trainer.gradient_clip_val"
    cause = {
        True: f"The weights were finite, so {pictures_or_settings}",
        False: f"The weights were not finite any more before this step: {rates}",
        None: f"Either {pictures_or_settings}, or {rates}",
    }[weights_finite]
    return ReIDError(
        f"the loss term {' and '.join(bad)} is not finite at step {step}, epoch {epoch} ({shown}). {cause}. The batch: "
        f"{names} (all {len(pictures)} are in {folder / LIST_NAME}). module.on_non_finite=skip leaves such steps out."
    )


@dataclass(frozen=True)
class _Step:
    finite: Tensor
    copied: torch.Event | None
    values: Mapping[str, Tensor]
    number: int
    epoch: int
    rows: Tensor

    def is_finite(self) -> bool:
        if self.copied is not None:
            self.copied.synchronize()
        return bool(self.finite)


class NonFiniteGuard:
    """Judges the loss of every step.

    Args:
        mode: "stop" raises; "skip" says so, and the step is taken without any gradient.
        error: (values, step, epoch, rows, whether it is late) -> what "stop" raises.

    On the CPU, and with "skip", a step is judged at once. On an accelerator "stop" judges a step when the next one is
    queued already, because waiting for the answer would leave the device idle; `settle` before a checkpoint is written
    keeps the damage out of it.
    """

    def __init__(
        self,
        mode: Literal["stop", "skip"],
        *,
        error: Callable[[Mapping[str, Tensor], int, int, Tensor, bool], ReIDError],
    ) -> None:
        if mode not in ("stop", "skip"):
            raise ReIDError(f"module.on_non_finite is {mode!r}; expected 'stop' or 'skip'.")
        self.mode = mode
        self.skipped = 0
        """Steps left out so far."""
        self._error = error
        self._pending: _Step | None = None

    def judge(self, values: Mapping[str, Tensor], *, step: int, epoch: int, rows: Tensor) -> bool:
        """Whether this step may be taken; raises for it, or for the one before, in mode "stop".

        values: each term and the total, scalars; rows: (B,) of the batch. All ranks must call it, and decide alike.
        """
        finite = all_finite(values)
        if self.mode == "skip":
            taken = bool(finite)
            self.skipped += not taken
            return taken
        copied = None
        if finite.device.type != "cpu":
            finite = finite.to("cpu", non_blocking=True)
            copied = torch.Event(rows.device.type)
            copied.record()
        detached = {name: value.detach() for name, value in values.items()}
        judged = _Step(finite, copied, detached, step, epoch, rows)
        if copied is None:
            self._stop_unless_finite(judged, late=False)
            return True
        before, self._pending = self._pending, judged
        self._stop_unless_finite(before, late=True)
        return True

    def settle(self) -> None:
        """Wait for the last step's answer; raises as `judge` does."""
        before, self._pending = self._pending, None
        self._stop_unless_finite(before, late=True)

    def _stop_unless_finite(self, step: _Step | None, *, late: bool) -> None:
        if step is not None and not step.is_finite():
            raise self._error(step.values, step.number, step.epoch, step.rows, late)
