"""The results of a sweep: a row a job in `sweep.csv`, a row a choice with its spread over seeds in `sweep.md`, a plot.

Written again after every job, so that a sweep that is cut short leaves its table too. Jobs that failed or were pruned
are in it.
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console, RenderableType

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.colours import RIGHT, TEXT
from reid_lightning.drawing.figures import new_figure, save_figure
from reid_lightning.drawing.tables import csv_table, markdown_table, new_table, print_written, titled
from reid_lightning.errors import count
from reid_lightning.ranks import is_rank_zero
from reid_lightning.sweeps.jobs import place_of, sweep_folder, write_record, write_started
from reid_lightning.sweeps.pruning import why_pruned
from reid_lightning.sweeps.results import (
    VALIDATION,
    Choice,
    ScoredJob,
    choices,
    own_settings,
    protocols,
    read_sweep,
    shared_settings,
)
from reid_lightning.user_messages import user_message

NAME = "sweep"
_MOST_SHOWN = 40  # choices in the plot, the best of them
_PRINTED = (VALIDATION, "mAP", "rank-1", "mINP")  # the files have all
_EXPLAINED = "mean and standard deviation over the jobs that ran to their end"

_log = logging.getLogger(__name__)


class SweepTable(Callback):
    """Hydra callback: keeps a record of each job, and the table of the sweep.

    A job that fails does not end the sweep: its message is logged, the sweeper sees an mAP of 0, and the command ends
    with status 1 after the last job.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let processes that a launcher starts, here or on other machines, import this package from where it is, and
        say what the sweep varies."""
        write_started(config)
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, str(Path(__file__).resolve().parents[2])]))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep a record from the beginning: a job that is killed must not be missing."""
        if _in_sweep(config):
            write_record(place_of(config.hydra), "running")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Say what became of the job, and write the table of what there is by now."""
        if not _in_sweep(config):
            return
        place = place_of(config.hydra)
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # asking a failed job for its `return_value` raises it
            message = user_message(error)
            _log.error("job %d failed: %s", place.number, message or repr(error), exc_info=None if message else error)
            write_record(place, "failed", message or repr(error))
            job_return.status, job_return.return_value = JobStatus.COMPLETED, 0.0
        else:
            pruned = why_pruned(place.folder)
            write_record(place, "pruned" if pruned else "completed", pruned or "")
        write_sweep_table(place.sweep)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table; the sweep has failed when one of its jobs has."""
        folder = sweep_folder(config.hydra)
        jobs = write_sweep_table(folder)
        if not jobs:
            return
        console = Console()
        console.print(_printed(choices(jobs), title=count(len(jobs), "job"), notes=protocols(jobs)))
        for ending in ("csv", "md", "png"):
            path = Path(config.hydra.sweep.dir) / f"{NAME}.{ending}"
            print_written(console, [path])
        failed = [one.job for one in jobs if one.job.status == "failed"]
        if failed:
            settings = " ".join(f"{key}={value}" for key, value in own_settings(failed[0], jobs).items())
            sys.stderr.write(
                f"\nerror: {len(failed)} of {len(jobs)} jobs failed. Job {failed[0].number} ({settings}): "
                f"{failed[0].message}\n"
            )
            sys.exit(1)


def write_sweep_table(folder: Path) -> list[ScoredJob]:
    """Write `sweep.csv`, `sweep.md` and `sweep.png` of the jobs below `folder`; nothing where there is none."""
    jobs = read_sweep(folder)
    if jobs:
        write_atomically(folder / f"{NAME}.csv", _csv(jobs))
        write_atomically(folder / f"{NAME}.md", _markdown(jobs))
        save_figure(_plot(choices(jobs), notes=protocols(jobs)), folder / f"{NAME}.png")
    return jobs


def _in_sweep(config: DictConfig) -> bool:
    return config.hydra.mode == RunMode.MULTIRUN and is_rank_zero()


def _metrics(table: Sequence[Choice]) -> list[str]:
    return list(dict.fromkeys(name for choice in table for name in choice.scores))


def _csv(jobs: Sequence[ScoredJob]) -> str:
    settings = dict.fromkeys(key for one in jobs for key in one.job.settings)
    metrics = dict.fromkeys(name for one in jobs for name in one.scores)
    columns = ["job", "folder", "status", *settings, *metrics, "protocol", "message"]
    rows = []
    for one in jobs:
        job = {"job": one.job.number, "folder": one.job.folder, "status": one.job.status, "message": one.job.message}
        scores = {name: f"{value:.4f}" for name, value in one.scores.items()}
        rows.append({**job, **one.job.settings, **scores, "protocol": one.protocol})
    return csv_table(columns, rows)


def _markdown(jobs: Sequence[ScoredJob]) -> str:
    table = choices(jobs)
    metrics = _metrics(table)
    rows = [[choice.name, *(choice.summary(metric) for metric in metrics), choice.ends] for choice in table]
    lines = [markdown_table(["", *metrics, "jobs"], rows), " ".join([f"Percent; {_EXPLAINED}.", *protocols(jobs)])]
    shared = " ".join(f"{key}={value}" for key, value in shared_settings(jobs).items())
    lines += ["", f"All jobs: `{shared}`"] if shared else []
    others = [one.job for one in jobs if one.job.status != "completed"]
    if others:
        lines += ["", *(f"- job {job.number}, {job.status}: {job.message or 'no word of it'}" for job in others)]
    return "\n".join(lines) + "\n"


def _printed(table: Sequence[Choice], *, title: str, notes: Sequence[str]) -> RenderableType:
    metrics = [metric for metric in _metrics(table) if metric in _PRINTED]
    caption = "\n".join([f"percent, {_EXPLAINED}", *notes])
    printed = new_table("", *metrics, "jobs", names=("", "jobs"))
    for choice in table:
        printed.add_row(choice.name, *(choice.summary(metric) for metric in metrics), choice.ends)
    return titled(printed, title, caption)


def _plot(table: Sequence[Choice], *, notes: Sequence[str]) -> Figure:
    shown = [choice for choice in table if choice.scores][:_MOST_SHOWN]
    compared = shown[0].compared if shown else "mAP"
    explained = f"Dots: jobs. Bars: {_EXPLAINED}."
    if len(shown) < len(table):
        explained += f" Not shown: {len(table) - len(shown)} of {len(table)} choices."
    figure, axes = new_figure(f"{compared} over the sweep", explained, *notes, height=1.0 + 0.35 * max(len(shown), 2))
    for row, choice in enumerate(shown):
        values = choice.scores[choice.compared]
        spread = statistics.stdev(values) if len(values) > 1 else None
        axes.errorbar(choice.mean_mAP, row, xerr=spread, fmt="|", color=TEXT, markersize=14, capsize=4)
        axes.plot(values, [row] * len(values), "o", color=RIGHT, alpha=0.7, markeredgecolor="none")
    axes.set_yticks(range(len(shown)), [choice.name for choice in shown])
    axes.set(xlabel=f"{compared}, percent", ylim=(max(len(shown), 2) - 0.5, -0.5))
    return figure
