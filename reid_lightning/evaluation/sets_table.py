"""One model on several data sets, a row for each: the table of a cross-domain evaluation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from rich.console import RenderableType

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.tables import Name, new_table, titled
from reid_lightning.evaluation.result import EvaluationResult

NAME = "sets"

_PRINTED = ("set", "mAP", "rank-1", "mINP", "threshold")  # the files have all


def write_sets_table(sets: Mapping[str, EvaluationResult], run_dir: Path) -> None:
    """Write `sets.csv` (shares, with the standard deviation over random galleries) and `sets.md` (percent)."""
    write_atomically(run_dir / f"{NAME}.csv", _csv(sets))
    header, rows = _cells(sets)
    lines = [f"| {' | '.join(header)} |", "| --- |" + " ---: |" * (len(header) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {name}: {one.result.describe()}" for name, one in sets.items())]
    write_atomically(run_dir / f"{NAME}.md", "\n".join(lines) + "\n")


def sets_table(sets: Mapping[str, EvaluationResult]) -> RenderableType:
    """The most of it for the terminal."""
    header, rows = _cells(sets)
    shown = [column for column, name in enumerate(header) if name in _PRINTED]
    notes = [f"{name}: {one.result.describe()}" for name, one in sets.items()]
    columns = [header[column] for column in shown]
    caption = "\n".join(["percent", *notes])
    table = new_table(*columns, names=columns[:1])
    for row in rows:
        name, *numbers = (row[column] for column in shown)
        table.add_row(Name(name), *numbers)
    return titled(table, f"{len(sets)} data sets", caption)


def _cells(sets: Mapping[str, EvaluationResult]) -> tuple[list[str], list[list[str]]]:
    """The header, and a row a set: percent with the spread over random galleries, the threshold, the sizes."""
    metrics = list(_shares(next(iter(sets.values()))))
    rows = []
    for name, one in sets.items():
        spreads = {} if one.repeats is None else one.repeats.spreads
        shares = [
            f"{100 * value:.2f}" + (f" ± {100 * spreads[metric]:.2f}" if metric in spreads else "")
            for metric, value in _shares(one).items()
        ]
        threshold = "" if one.calibration is None else f"{one.calibration.threshold:.4f}"
        rows.append([name, *shares, threshold, f"{one.result.queries:,}", f"{one.result.gallery:,}"])
    return ["set", *metrics, "threshold", "queries", "gallery"], rows


def _csv(sets: Mapping[str, EvaluationResult]) -> str:
    metrics = list(_shares(next(iter(sets.values()))))
    text = io.StringIO()
    columns = ["set", *metrics, *(f"{metric} std" for metric in metrics), "queries", "gallery", "protocol", "junk"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for name, one in sets.items():
        spreads = {} if one.repeats is None else one.repeats.spreads
        shares = {metric: f"{value:.6f}" for metric, value in _shares(one).items()}
        deviations = {f"{metric} std": f"{value:.6f}" for metric, value in spreads.items()}
        named = {key: getattr(one.result, key) for key in ("queries", "gallery", "protocol", "junk")}
        writer.writerow({"set": name, **shares, **deviations, **named})
    return text.getvalue()


def _shares(evaluated: EvaluationResult) -> dict[str, float]:
    result = evaluated.result
    ranks = {f"rank-{rank}": share for rank, share in result.cmc.items()}
    return {"mAP": result.mAP, **ranks, "mINP": result.mINP}
