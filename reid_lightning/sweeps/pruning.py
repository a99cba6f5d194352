"""The median stopping rule over the jobs of a sweep: whether a job is worth going on with.

It needs nothing but the files that the jobs keep, so it works for a grid and for Optuna, one job after another or many
at once, on one machine or on several that share a disk.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.atomic import write_atomically

HISTORY = "validations.json"

Values = Mapping[int, float]
"""A monitored value by epoch."""


@dataclass(frozen=True)
class Verdict:
    """Why a job is stopped at `epoch`: its `best` value so far is below the `median` of the best of `jobs` others."""

    epoch: int
    best: float
    median: float
    jobs: int

    def __str__(self) -> str:
        return (
            f"after epoch {self.epoch} its best was {self.best:.4f}, the median of {self.jobs} other jobs "
            f"{self.median:.4f}"
        )


def median_rule(own: Values, others: Sequence[Values], *, epoch: int, min_jobs: int) -> Verdict | None:
    """Stop when the best value up to `epoch` is strictly below the median of the others' best values up to `epoch`.

    The median stopping rule of Golovin et al., Google Vizier (KDD 2017), with the best value of the others in place of
    their running average. Others that have not come as far as `epoch` are left out; with fewer than `min_jobs` that
    have, every job goes on.

    Args:
        own: the job's values, at least one up to `epoch`.
        others: those of the sweep's other jobs, finished, pruned or running.
    """
    best = [_best(values, epoch) for values in others if values and max(values) >= epoch]
    if len(best) < max(min_jobs, 1):
        return None
    verdict = Verdict(epoch, _best(own, epoch), statistics.median(best), len(best))
    return verdict if verdict.best < verdict.median else None


def _best(values: Values, epoch: int) -> float:
    return max((value for at, value in values.items() if at <= epoch), default=float("-inf"))


def read_history(path: Path) -> dict[int, float]:
    """The values by epoch that a job has kept so far; none where the file is not there yet."""
    if not path.is_file():
        return {}
    return {int(epoch): value for epoch, value in json.loads(path.read_text(encoding="utf-8"))["values"].items()}


def write_history(path: Path, values: Values, verdict: Verdict | None = None) -> None:
    """Keep the values by epoch, and why the job was stopped if it was."""
    content = {"values": {str(epoch): value for epoch, value in values.items()}, "pruned": verdict and str(verdict)}
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def why_pruned(run_dir: Path) -> str | None:
    """Why the job in this folder was stopped early; None when it was not."""
    path = run_dir / HISTORY
    return json.loads(path.read_text(encoding="utf-8"))["pruned"] if path.is_file() else None
