"""Weights of loss terms that change while a network trains."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reid_lightning.errors import ReIDError


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A weight that goes from `before` to `after` between the shares `begin` and `end` of the training.

    Args:
        before: weight up to `begin`.
        after: weight from `end` on.
        begin: share of the optimiser steps at which it starts to go, 0 <= begin <= end <= 1.
        end: share at which it has arrived; with begin = end the weight jumps there.
        shape: "linear", or "cosine" for half a cosine, which starts and ends gently.
    """

    before: float
    after: float
    begin: float
    end: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        if not (0.0 <= self.before < math.inf and 0.0 <= self.after < math.inf):
            raise ReIDError(f"ramp before={self.before}, after={self.after}: expected two weights of at least 0")
        if not 0.0 <= self.begin <= self.end <= 1.0:
            raise ReIDError(
                f"ramp begin={self.begin}, end={self.end}: expected shares of the training, 0 <= begin <= end <= 1"
            )
        if self.shape not in ("linear", "cosine"):
            raise ReIDError(f"ramp shape={self.shape!r}: expected 'linear' or 'cosine'")

    def __call__(self, progress: float) -> float:
        """The weight when `progress` of the optimiser steps are done, 0 to 1."""
        if progress >= self.end:
            return self.after
        if progress <= self.begin:
            return self.before
        share = (progress - self.begin) / (self.end - self.begin)
        if self.shape == "cosine":
            share = (1.0 - math.cos(math.pi * share)) / 2.0
        return self.before + (self.after - self.before) * share
