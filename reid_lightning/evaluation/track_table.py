"""The table of arXiv 1910.09458: networks x MED, MCD, RSCR x image to track, track to track x aggregations.

Each job of a sweep fills its network's rows; when the sweep ends they become one CSV, one Markdown table and one plot.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from hydra.experimental.callback import Callback
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.progress import track

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.figures import new_figure, save_figure
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.problem import IMAGE_TO_TRACK, TRACK_TO_TRACK
from reid_lightning.ranking.protocols import EvaluationProtocol, ImageToTrack, TrackToTrack
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.tracks import Aggregation, TrackMetric

NAME = "track_table"
SHORT = {IMAGE_TO_TRACK: "I2T", TRACK_TO_TRACK: "T2T"}

Row = dict[str, str]


def write_track_table(
    query: EmbeddingTable, gallery: EmbeddingTable, run_dir: Path, *, model: str, protocol: EvaluationProtocol
) -> Path:
    """Rank tracks in all the paper's ways and write `track_table.csv`, a row for each way.

    Args:
        query: query pictures with tracks; `gallery` likewise.
        model: the network's name in the table.
        protocol: whose AP definition and junk rule apply (index files name pictures: the camera rule instead).
    """
    junk: Literal["camera", "none"] = "none" if protocol.junk == "none" else "camera"
    ways: list[EvaluationProtocol] = []
    for metric in get_args(TrackMetric):
        ways.append(ImageToTrack(metric=metric, ap=protocol.ap, junk=junk))
        for aggregation in get_args(Aggregation) if metric != "rscr" else ("min",):  # which RSCR does not look at
            ways.append(TrackToTrack(metric=metric, aggregation=aggregation, ap=protocol.ap, junk=junk))
    rows = []
    for way in track(ways, "ranking tracks", transient=True):
        ranking = way.rank(query, gallery)
        result = evaluate_problem(ranking.problem, ap=way.ap, ranks=(1, 5))
        rows.append(
            {
                "model": model,
                "protocol": result.protocol,
                "metric": ranking.metric,
                "aggregation": ranking.aggregation or "",
                "mAP": f"{100 * result.mAP:.2f}",
                "rank-1": f"{100 * result.cmc[1]:.2f}",
                "rank-5": f"{100 * result.cmc[5]:.2f}",
                "queries": str(result.queries),
                "queries without match": str(result.queries_without_match),
                "gallery tracks": str(result.gallery),
                "ap": result.ap,
                "junk": result.junk,
            }
        )
    return _write_csv(run_dir / f"{NAME}.csv", rows)


class CollectTrackTables(Callback):
    """Hydra callback: joins the jobs' `track_table.csv` into the sweep's `track_table.csv`, `.md` and `.png`."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Does nothing where no job filled a table."""
        folder = Path(config.hydra.sweep.dir)
        jobs = {path.parent.name: _read_csv(path) for path in sorted(folder.glob(f"*/{NAME}.csv"), key=_job)}
        jobs_of = Counter(rows[0]["model"] for rows in jobs.values())
        for job, rows in jobs.items():
            if jobs_of[rows[0]["model"]] > 1:  # one network several times: the job tells them apart
                rows[:] = [{**row, "model": f"{row['model']} ({job})"} for row in rows]
        if jobs:
            collect([row for rows in jobs.values() for row in rows], folder)


def collect(rows: Sequence[Row], folder: Path) -> None:
    """Write the rows of all networks as CSV, Markdown and a plot."""
    _write_csv(folder / f"{NAME}.csv", rows)
    models = list(dict.fromkeys(row["model"] for row in rows))
    values: dict[str, dict[str, Row]] = {}  # way -> network -> row
    for row in rows:
        way = f"{SHORT[row['protocol']]} {row['metric'].upper()} {row['aggregation']}".strip()
        values.setdefault(way, {})[row["model"]] = row
    lines = ["| | " + " | ".join(models) + " |", "| --- |" + " ---: |" * len(models)]
    for way, cells in values.items():
        shown = [f"{cells[model]['mAP']} / {cells[model]['rank-1']}" if model in cells else "" for model in models]
        lines.append(f"| {way} | " + " | ".join(shown) + " |")
    columns = ("protocol", "queries", "queries without match", "gallery tracks")
    sizes = dict.fromkeys(tuple(row[column] for column in columns) for row in rows)
    note = f"AP as {rows[0]['ap']}, junk: {rows[0]['junk']}; " + "; ".join(
        f"{protocol} ({SHORT[protocol]}): {queries} queries ({without} without a match), {tracks} gallery tracks"
        for protocol, queries, without, tracks in sizes
    )
    write_atomically(folder / f"{NAME}.md", "\n".join([*lines, "", f"mAP / rank-1 in percent. {note}."]) + "\n")
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


def _write_csv(path: Path, rows: Sequence[Row]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_atomically(path, text.getvalue())


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
