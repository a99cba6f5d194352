"""One model on several data sets, a row for each: the table of a cross-domain evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import RenderableType

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.tables import Name, csv_table, markdown_table, new_table, titled
from reid_lightning.errors import count
from reid_lightning.evaluation.result import EvaluationResult

NAME = "sets"

_PRINTED = ("set", "mAP", "rank-1", "mINP", "threshold")  # the files have all


def write_sets_table(sets: Mapping[str, EvaluationResult], run_dir: Path) -> None:
    """Write `sets.csv` (shares, with the standard deviation over random galleries) and `sets.md` (percent)."""
    write_atomically(run_dir / f"{NAME}.csv", _csv(sets))
    header, rows = _cells(sets)
    notes = "".join(f"- {name}: {one.result.describe()}\n" for name, one in sets.items())
    write_atomically(run_dir / f"{NAME}.md", f"{markdown_table(header, rows)}\n{notes}")


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
    return titled(table, count(len(sets), "data set"), caption)


def _cells(sets: Mapping[str, EvaluationResult]) -> tuple[list[str], list[list[str]]]:
    """The header, and a row a set: percent with the spread over random galleries, the threshold, the sizes."""
    metrics = list(next(iter(sets.values())).result.values())
    rows = []
    for name, one in sets.items():
        spreads = {} if one.repeats is None else one.repeats.spreads
        shares = [
            f"{100 * value:.2f}" + (f" ± {100 * spreads[metric]:.2f}" if metric in spreads else "")
            for metric, value in one.result.values().items()
        ]
        threshold = "" if one.calibration is None else f"{one.calibration.threshold:.4f}"
        rows.append([name, *shares, threshold, f"{one.result.queries:,}", f"{one.result.gallery:,}"])
    return ["set", *metrics, "threshold", "queries", "gallery"], rows


def _csv(sets: Mapping[str, EvaluationResult]) -> str:
    metrics = list(next(iter(sets.values())).result.values())
    columns = ["set", *metrics, *(f"{metric} std" for metric in metrics), "queries", "gallery", "protocol", "junk"]
    rows = []
    for name, one in sets.items():
        spreads = {} if one.repeats is None else one.repeats.spreads
        shares = {metric: f"{value:.6f}" for metric, value in one.result.values().items()}
        deviations = {f"{metric} std": f"{value:.6f}" for metric, value in spreads.items()}
        named = {key: getattr(one.result, key) for key in ("queries", "gallery", "protocol", "junk")}
        rows.append({"set": name, **shares, **deviations, **named})
    return csv_table(columns, rows)
