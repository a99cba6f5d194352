"""The log of a run as one table, logs/metrics.csv, which an interrupted run continues instead of starting again.

Lightning's CSVLogger deletes the table of the run that it resumes. Here a resumed run has, row for row, what the run
would have logged without the interruption.
"""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from reid_lightning.atomic import flush, write_atomically
from reid_lightning.training.lightning_internals import logged_step, row_to_come

NAME = "metrics.csv"


class CSVLog(Logger):
    """One row for each thing that is logged, with columns in the order of their names; written at once.

    A run that is not resumed replaces the table that an earlier run left in `folder`. A row of the same step and
    columns as the row before it is not written again.

    Args:
        folder: gets `metrics.csv`.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.path = self.folder / NAME
        self._columns: list[str] | None = None
        self._latest: tuple[int, frozenset[str]] | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def version(self) -> str:
        """There is one table a run."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder."""
        return str(self.folder)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml says them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Write a row, of step 0 where none is given."""
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        row = {**values, "step": step or 0}
        this = step or 0, frozenset(row)
        if this == self._latest:
            return
        self._latest = this
        columns = self._columns
        if columns is None:
            columns = sorted(row)
            self._rewrite(columns, [])
        elif not set(row) <= set(columns):
            columns = sorted({*columns, *row})
            self._rewrite(columns, _read(self.path)[1])
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(row.get(column, "") for column in columns))

    @rank_zero_only
    def go_on(self, *, step: int) -> None:
        """Keep the rows of earlier steps than `step`, which a resumed run does first; a torn last row goes as well."""
        columns, rows = _read(self.path)
        if columns:
            self._rewrite(columns, [row for row in rows if int(row["step"]) < step])

    @rank_zero_only
    def sync(self) -> None:
        """Force what is written to the disk."""
        if self.path.exists():
            with self.path.open("rb") as file:
                flush(file)

    def _rewrite(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [_line(columns), *(_line(row.get(column, "") for column in columns) for row in rows)]
        write_atomically(self.path, "".join(lines))
        self._columns = list(columns)


class ContinuedLog(pl.Callback):
    """Keeps the tables of `CSVLog` in step with the checkpoints: what a checkpoint has seen is on the disk before it
    is, and a resumed run drops what was logged after it."""

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the row of the step that has just ended, which the trainer logs only after it has saved."""
        row = row_to_come(trainer)
        for log in _logs(trainer):
            if row:
                log.log_metrics(row, step=logged_step(trainer))
            log.sync()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the log from the checkpoint's step."""
        for log in _logs(trainer):
            log.go_on(step=checkpoint["global_step"])


def _logs(trainer: pl.Trainer) -> list[CSVLog]:
    return [logger for logger in trainer.loggers if isinstance(logger, CSVLog)]


def _line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and whole rows of a table; none of either when it is not there."""
    if not path.is_file():
        return [], []
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if line.endswith("\n")]  # a row that was cut off has no end
    columns, *rows = csv.reader(lines) or [[]]
    return columns, [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
