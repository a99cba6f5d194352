"""The runs of a sweep side by side: panels over them for W&B, and the same panels as a picture."""

from __future__ import annotations

import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reid_lightning.drawing.colours import TEXT
from reid_lightning.drawing.figures import new_grid
from reid_lightning.errors import ReIDError, extra
from reid_lightning.evaluation.report import PICTURES
from reid_lightning.sweeps.results import Choice, ScoredJob, choices, protocols

_BARS = ("mAP", "rank-1", "mINP")
_CURVES = (("val/mAP", "epoch"), ("train/loss", "step"), ("lr", "step"))
_LOGARITHMIC = ("train/loss",)  # those of several losses differ by orders of magnitude
_NOTHING_LOGGED = {  # by what a curve goes along
    "epoch": "nothing in logs/metrics.csv",
    "step": "nothing in logs/metrics.csv,\nwhich has a line every\ntrainer.log_every_n_steps",
}
_MOST_SHOWN = 10  # choices in the picture: as many as there are colours
_CHOICE, _STEP = "choice", "trainer/global_step"  # as `training.run_names` and Lightning name them
_NO_FILTER = re.compile(r"""[=<>'"\\]""")


def workspace(*, group: str, project: str, entity: str, runs: int) -> Any:
    """A `Workspace` of wandb-workspaces over the runs of a group: the figures of the end as bars and the courses of the
    training as curves, each the mean over the seeds of a choice with its standard deviation, a table, the pictures."""
    if _NO_FILTER.search(group):
        raise ReIDError(
            f"group is {group!r}: W&B's filters take no = < > ' \" or \\ in a name. Give the runs another one with "
            "logger.wandb.group=<name>, or the sweep with hydra.sweep.dir=<folder>."
        )
    with extra("wandb"):
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as spaces
        from wandb_workspaces import expr

    panels: Any = reports  # its own types do not name what it has
    over: dict[str, Any] = {
        "groupby": panels.Config(_CHOICE),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "stddev",
    }
    bars = [panels.BarPlot(title=f"final {name}", metrics=[f"final/{name}"], **over) for name in _BARS]
    curves = [
        panels.LinePlot(
            title=name, x=_STEP if along == "step" else along, y=[name], log_y=name in _LOGARITHMIC or None, **over
        )
        for name, along in _CURVES
    ]
    pictures = [panels.MediaBrowser(title=name, media_keys=[f"final/{name}"], num_columns=2) for name in PICTURES]
    columns = [*(f"final/{name}{end}" for name in _BARS for end in ("", "_low", "_high")), "final/threshold"]
    return spaces.Workspace(
        entity=entity,
        project=project,
        name=f"Sweep {group}",
        sections=[
            spaces.Section(name="Figures", panels=bars, is_open=True),
            spaces.Section(name="Training", panels=curves, is_open=True),
            spaces.Section(name="Pictures", panels=pictures, is_open=True),
            spaces.Section(name="What differs", panels=[panels.RunComparer(diff_only="split")], is_open=False),
        ],
        settings=spaces.WorkspaceSettings(max_runs=max(10, runs)),
        runset_settings=spaces.RunsetSettings(
            filters=expr.And(expr.Metric("Group") == group),
            groupby=[expr.Config(_CHOICE)],
            order=[expr.Ordering(expr.Summary("final/mAP"), ascending=False)],
            pinned_columns=[f"summary:{column}" for column in columns],
        ),
    )


def plot_dashboard(jobs: Sequence[ScoredJob], folder: Path, *, title: str) -> Figure:
    """The same bars and curves, from what the jobs below `folder` have written."""
    explained = "Bars and lines: mean over the seeds of a choice; whiskers and bands: standard deviation."
    scored = [choice for choice in choices(jobs) if choice.scores]
    shown = scored[:_MOST_SHOWN]
    if len(shown) < len(scored):
        explained += f" The best {len(shown)} of {len(scored)} choices."
    figure, axes = new_grid(title, explained, *protocols(jobs), rows=2, columns=3, height=5.2)
    colours = [f"C{number}" for number in range(len(shown))]
    for name, place in zip(_BARS, axes[:3], strict=True):
        _draw_bars(place, name, shown, colours)
    for (name, along), place in zip(_CURVES, axes[3:], strict=True):
        for choice, colour in zip(shown, colours, strict=True):
            _draw_curve(place, name, along, [folder / job.folder for job in choice.jobs], colour)
        place.set_title(name, color=TEXT, fontsize=10)
        logarithmic = name in _LOGARITHMIC and any(
            np.any(np.asarray(line.get_ydata(), dtype=float) > 0) for line in place.lines
        )
        place.set(xlabel=along, yscale="log" if logarithmic else "linear")
        if not place.lines:
            place.text(
                0.5, 0.5, _NOTHING_LOGGED[along], color=TEXT, ha="center", va="center", transform=place.transAxes
            )
    handles = [Patch(color=colour, label=choice.name) for choice, colour in zip(shown, colours, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, labelcolor=TEXT, fontsize=9)
    return figure


def _draw_bars(axes: Axes, name: str, shown: Sequence[Choice], colours: Sequence[str]) -> None:
    for row, (choice, colour) in enumerate(zip(shown, colours, strict=True)):
        values = choice.scores.get(name, (float("nan"),))
        axes.barh(row, statistics.mean(values), xerr=_spread(values), color=colour, ecolor=TEXT, capsize=3)
    axes.set_title(f"final {name}", color=TEXT, fontsize=10)
    axes.set(xlabel="percent", yticks=[], ylim=(len(shown) - 0.4, -0.6))


def _draw_curve(axes: Axes, name: str, along: str, runs: Sequence[Path], colour: str) -> None:
    values: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        for row in _logged(run):
            if row.get(name) and row.get(along):
                values[float(row[along])].append(float(row[name]))
    if not values:
        return
    places = np.array(sorted(values))
    means = np.array([statistics.mean(values[place]) for place in places])
    spreads = np.array([_spread(values[place]) for place in places])
    axes.plot(places, means, color=colour, marker="o" if len(places) < 2 else None)
    axes.fill_between(places, means - spreads, means + spreads, color=colour, alpha=0.2, linewidth=0)


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _logged(run: Path) -> list[dict[str, str]]:
    path = run / "logs/metrics.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
