"""Learning-rate schedules in optimiser steps: a linear warm-up, then a cosine or a staircase."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from reid_lightning.errors import ReIDError


def warmup_cosine(
    optimizer: Optimizer, *, total_steps: int, warmup: float = 0.1, start: float = 0.01, end: float = 0.01
) -> LambdaLR:
    """Factor `start` -> 1 linearly over the first `warmup` share of the steps, then 1 -> `end` along half a cosine."""
    _check_shares("scheduler.warmup", [warmup])

    def factor(step: int) -> float:
        if step < warmup * total_steps:
            return start + (1 - start) * step / (warmup * total_steps)
        progress = min(1.0, (step - warmup * total_steps) / max(1.0, (1 - warmup) * total_steps))
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def warmup_multistep(
    optimizer: Optimizer,
    *,
    total_steps: int,
    milestones: Sequence[float] = (0.33, 0.58),
    gamma: float = 0.1,
    warmup: float = 0.1,
    start: float = 0.01,
) -> LambdaLR:
    """Linear warm-up as in `warmup_cosine`, then times `gamma` at each of `milestones` (shares of the steps)."""
    _check_shares("scheduler.milestones", milestones)
    _check_shares("scheduler.warmup", [warmup])
    drops = sorted(milestones)

    def factor(step: int) -> float:
        if step < warmup * total_steps:
            return start + (1 - start) * step / (warmup * total_steps)
        return gamma ** sum(step >= drop * total_steps for drop in drops)

    return LambdaLR(optimizer, factor)


def _check_shares(name: str, shares: Sequence[float]) -> None:
    if any(not 0 <= share < 1 for share in shares):
        raise ReIDError(f"{name} is {list(shares)}; expected shares of the training steps, from 0 to below 1.")
