"""What an evaluation found, for one data set or for several, and its `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reid_lightning.atomic import write_atomically
from reid_lightning.ranking.curves import CameraPairMap
from reid_lightning.ranking.open_set_result import Calibration, OpenSetResult
from reid_lightning.ranking.repeats import Repeats
from reid_lightning.ranking.result import RetrievalResult


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found. `open_set` is None where there are no pairs of different vehicles, `calibration` also
    where scores mean something in this gallery only, `camera_pairs` where cameras are unknown.

    `repeats` are the results over random galleries where the protocol draws them: `result` holds their means then, all
    else is of the first gallery. `sets` are the results of joined data sets by name; the rest is that of the first.
    `best_epoch` says on what the model's epoch was chosen ("chosen_on"), or, the only one that was validated, measured
    ("measured_on"), and, where these are other pictures, what it had there ("validation_mAP"); empty where nobody
    knows. `found_by` as in `VehicleDataset`.
    """

    result: RetrievalResult
    open_set: OpenSetResult | None = None
    calibration: Calibration | None = None
    camera_pairs: CameraPairMap | None = None
    repeats: Repeats | None = None
    sets: Mapping[str, EvaluationResult] = field(default_factory=dict)
    best_epoch: Mapping[str, str | float] = field(default_factory=dict)
    found_by: str | None = None

    @property
    def selection_mAP(self) -> float:
        """By which epochs, and jobs of a sweep, are compared."""
        return float(self.best_epoch.get("validation_mAP", self.result.mAP))

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON; `repeats`, `sets` and `best_epoch` only where there are some."""
        values = {**self.result.as_dict(), "confidence_95": self.result.confidence_intervals()}
        for name in ("calibration", "open_set", "camera_pairs"):
            part = getattr(self, name)
            values[name] = None if part is None else part.as_dict()
        if self.repeats is not None:
            values["repeats"] = self.repeats.as_dict()
        if self.best_epoch:
            values["best_epoch"] = dict(self.best_epoch)
        if self.found_by is not None:
            values["identities_found_by"] = self.found_by
        if self.sets:
            values["sets"] = {name: one.result.as_dict() for name, one in self.sets.items()}
        return values


def write_metrics(evaluated: EvaluationResult, run_dir: Path, *, data: str, model: str) -> None:
    """`metrics.json`, with the names of the data and the fingerprint of the model."""
    metrics = {**evaluated.as_dict(), "data": data, "model": model}
    write_atomically(run_dir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
