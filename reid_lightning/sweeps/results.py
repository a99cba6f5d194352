"""What the jobs of a sweep scored, and what the choices they stand for are worth: mean and spread over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.errors import count
from reid_lightning.ranking.result import named_shares
from reid_lightning.sweeps.jobs import SEED, SweepJob, in_words, read_metrics, read_records, selection_mAP

VALIDATION = "validation mAP"


@dataclass(frozen=True)
class ScoredJob:
    """A job with its metrics in percent, {"mAP": 81.9, "rank-1": 97.0, ...}, and the protocol they were measured under;
    both empty where there was no evaluation."""

    job: SweepJob
    scores: Mapping[str, float]
    protocol: str


@dataclass(frozen=True)
class Choice:
    """The jobs that differ in nothing but the seed.

    `settings` tell them from the sweep's other jobs; `scores` are the values of those that ran to their end, by metric.
    """

    settings: Mapping[str, str]
    jobs: tuple[SweepJob, ...]
    scores: Mapping[str, tuple[float, ...]]

    @property
    def name(self) -> str:
        """loss=circle optimizer.lr=0.001"""
        return in_words(self.settings) or "as configured"

    @property
    def compared(self) -> str:
        """The metric that choices are compared by: not the test's, where the jobs were validated on other pictures."""
        return VALIDATION if VALIDATION in self.scores else "mAP"

    @property
    def mean_mAP(self) -> float:
        """Of what is compared; below all others where no job ran to its end."""
        return statistics.mean(self.scores[self.compared]) if self.scores else -1.0

    def summary(self, metric: str) -> str:
        """Mean and sample standard deviation over the seeds: "81.90 ± 0.31"; one job alone has no deviation."""
        values = self.scores.get(metric, ())
        if not values:
            return ""
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.2f}{spread}"

    @property
    def ends(self) -> str:
        """How many jobs ran to their end, and what became of the others: "2 of 3, 1 failed"."""
        ends = [job.status for job in self.jobs]
        others = [f"{ends.count(end)} {end}" for end in ("pruned", "failed", "running") if end in ends]
        return ", ".join([f"{ends.count('completed')} of {len(ends)}", *others]) if others else str(len(ends))


def read_sweep(folder: Path) -> list[ScoredJob]:
    """All jobs below the folder of a sweep, by number."""
    return [_scored(job, folder) for job in read_records(folder)]


def choices(jobs: Sequence[ScoredJob]) -> list[Choice]:
    """The jobs by their settings without the seed, the best mean mAP first."""
    groups: dict[tuple[tuple[str, str], ...], list[ScoredJob]] = {}
    told_apart = _varied(jobs)
    for one in jobs:
        settings = {key: value for key, value in one.job.settings.items() if key in told_apart}
        groups.setdefault(tuple(settings.items()), []).append(one)
    made = []
    for shared, members in groups.items():
        finished = [one.scores for one in members if one.job.status == "completed" and one.scores]
        metrics = dict.fromkeys(name for scores in finished for name in scores)
        values = {metric: tuple(scores[metric] for scores in finished if metric in scores) for metric in metrics}
        made.append(Choice(dict(shared), tuple(one.job for one in members), values))
    return sorted(made, key=lambda choice: -choice.mean_mAP)


def protocols(jobs: Sequence[ScoredJob]) -> list[str]:
    """What makes the numbers comparable; more than one means that not all of them are."""
    return [f"{protocol}." for protocol in dict.fromkeys(one.protocol for one in jobs) if protocol]


def shared_settings(jobs: Sequence[ScoredJob]) -> Mapping[str, str]:
    """The settings, other than the seed, that all jobs have in common."""
    apart = _varied(jobs) | {SEED}
    return {key: value for key, value in jobs[0].job.settings.items() if key not in apart}


def own_settings(job: SweepJob, jobs: Sequence[ScoredJob]) -> Mapping[str, str]:
    """The settings that tell one job from the others, with its seed."""
    apart = _varied(jobs) | {SEED}
    return {key: value for key, value in job.settings.items() if key in apart}


def _scored(job: SweepJob, folder: Path) -> ScoredJob:
    metrics = read_metrics(folder / job.folder) if job.status in ("completed", "pruned") else None
    if metrics is None:
        return ScoredJob(job, {}, "")
    shares = named_shares(metrics)
    if "validation_mAP" in metrics.get("best_epoch", {}):
        shares = {VALIDATION: selection_mAP(metrics), **shares}
    return ScoredJob(job, {name: 100 * share for name, share in shares.items()}, _protocol(metrics))


def _protocol(metrics: Mapping[str, Any]) -> str:
    return (
        f"{metrics['protocol']}, {metrics['metric']}, AP as {metrics['ap']}, junk: {metrics['junk']}; "
        f"{count(metrics['queries'], 'query', 'queries')}, gallery of {metrics['gallery']:,}"
    )


def _varied(jobs: Sequence[ScoredJob]) -> set[str]:
    """The keys, other than the seed, that have not the same value in all jobs."""
    settings = [one.job.settings for one in jobs]
    keys = {key for one in settings for key in one} - {SEED}
    return {key for key in keys if len({one.get(key) for one in settings}) > 1}
