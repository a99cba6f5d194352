"""The table of arXiv 1910.09458 over the networks of a sweep: one CSV, one Markdown table and one plot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from matplotlib.figure import Figure
from omegaconf import DictConfig

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.figures import new_figure, save_figure
from reid_lightning.drawing.tables import markdown_table
from reid_lightning.evaluation.track_table import NAME, Row, read_rows, write_rows
from reid_lightning.ranking.problem import IMAGE_TO_TRACK, TRACK_TO_TRACK

SHORT = {IMAGE_TO_TRACK: "I2T", TRACK_TO_TRACK: "T2T"}


class CollectTrackTables(Callback):
    """Hydra callback: joins the jobs' `track_table.csv` into the sweep's `track_table.csv`, `.md` and `.png`."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Does nothing where no job filled a table."""
        folder = Path(config.hydra.sweep.dir)
        jobs = {path.parent.name: read_rows(path) for path in sorted(folder.glob(f"*/{NAME}.csv"), key=_job)}
        jobs_of = Counter(rows[0]["model"] for rows in jobs.values())
        for job, rows in jobs.items():
            if jobs_of[rows[0]["model"]] > 1:  # one network several times: the job tells them apart
                rows[:] = [{**row, "model": f"{row['model']} ({job})"} for row in rows]
        if jobs:
            collect([row for rows in jobs.values() for row in rows], folder)


def collect(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows of all networks as CSV, Markdown and a plot."""
    write_rows(folder / f"{NAME}.csv", rows)
    models = list(dict.fromkeys(row["model"] for row in rows))
    values: dict[str, dict[str, Row]] = {}  # way -> network -> row
    for row in rows:
        way = f"{SHORT[row['protocol']]} {row['metric'].upper()} {row['aggregation']}".strip()
        values.setdefault(way, {})[row["model"]] = row
    shown = [
        [way, *(f"{cells[model]['mAP']} / {cells[model]['rank-1']}" if model in cells else "" for model in models)]
        for way, cells in values.items()
    ]
    columns = ("protocol", "queries", "queries without match", "gallery tracks")
    sizes = dict.fromkeys(tuple(row[column] for column in columns) for row in rows)
    note = f"AP as {rows[0]['ap']}, junk: {rows[0]['junk']}; " + "; ".join(
        f"{protocol} ({SHORT[protocol]}): {queries} queries ({without} without a match), {tracks} gallery tracks"
        for protocol, queries, without, tracks in sizes
    )
    write_atomically(
        folder / f"{NAME}.md", f"{markdown_table(['', *models], shown)}\nmAP / rank-1 in percent. {note}.\n"
    )
    save_figure(_plot(models, values, caption=f"{note}."), folder / f"{NAME}.png")


def _plot(models: Sequence[str], values: Mapping[str, Mapping[str, Row]], *, caption: str) -> Figure:
    figure, axes = new_figure("mAP by distance and aggregation", caption)
    for model in models:
        points = [(place, float(cells[model]["mAP"])) for place, cells in enumerate(values.values()) if model in cells]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=5, linewidth=1, label=model)
    axes.set_xticks(range(len(values)), list(values), rotation=35, ha="right")
    axes.set(ylabel="mAP, percent", ylim=(0, None))
    columns = min(len(models), 5)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    return figure


def _job(path: Path) -> tuple[int, str]:
    """Sorts job 2 before job 10."""
    return len(path.parent.name), path.parent.name
