"""The table of arXiv 1910.09458: networks x MED, MCD, RSCR x image to track, track to track x aggregations.

Each job of a sweep fills its network's rows; `sweeps.track_tables` joins them.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rich.progress import track

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.tables import csv_table
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.protocols import EvaluationProtocol, ImageToTrack, TrackToTrack
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.tracks import Aggregation, TrackMetric

NAME = "track_table"

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
    return write_rows(run_dir / f"{NAME}.csv", rows)


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """A CSV of the rows, with the names of the first one's columns."""
    return write_atomically(path, csv_table(list(rows[0]), rows))


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
