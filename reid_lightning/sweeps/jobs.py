"""The jobs of a Hydra sweep as records: which job this process works on, and what became of each.

Every job keeps `sweep_job.json` in its folder, so that a sweep can be read while it runs, whatever launcher started it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import write_atomically

RECORD = "sweep_job.json"
METRICS = "metrics.json"
SEED = "seed"
STARTED = "multirun.yaml"
"""What a sweep was started with, as Hydra's own sweeper writes it."""

Status = Literal["running", "completed", "pruned", "failed"]


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep, as its record has it.

    `number` is Hydra's, `folder` the job's name for its own folder below that of the sweep, `overrides` what makes it
    this job, `message` why it failed or was pruned. A job that was killed stays "running".
    """

    number: int
    folder: str
    overrides: tuple[str, ...]
    status: Status
    message: str = ""

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key: {"loss": "circle", "seed": "1"}."""
        return settings_of_words(self.overrides)


@dataclass(frozen=True)
class SweepPlace:
    """Where in a sweep this process works: the sweep's folder, and the job's number, folder and overrides."""

    sweep: Path
    number: int
    folder: Path
    overrides: tuple[str, ...]

    def siblings(self, name: str) -> list[Path]:
        """The files called `name` in the folders of the sweep's other jobs."""
        levels = len(self.folder.relative_to(self.sweep).parts)
        found = self.sweep.glob("/".join(["*"] * levels + [name]))
        return sorted(path for path in found if path.parent != self.folder)


def place_in_sweep() -> SweepPlace | None:
    """Where in a sweep this process works; None in a run of its own. A job has a number, a run has none."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().job, "num"):
        return None
    return place_of(HydraConfig.get())


def place_of(hydra: Any) -> SweepPlace:
    """The place of the job that the `hydra` node of a configuration describes."""
    return SweepPlace(
        sweep=sweep_folder(hydra),
        number=hydra.job.num,
        folder=Path(hydra.runtime.output_dir),
        overrides=tuple(given_overrides(hydra)),
    )


def given_overrides(hydra: Any, *, of: Literal["task", "hydra"] = "task") -> list[str]:
    """The overrides of a job as they were given: ${...} in them is for the configuration, not for this list."""
    overrides: Any = OmegaConf.to_container(hydra.overrides[of], resolve=False)
    return [str(override) for override in overrides]


def settings_of_words(overrides: Iterable[str]) -> dict[str, str]:
    """Overrides by key, without the signs that add, force or delete: {"loss": "circle", "seed": "1"}."""
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, _, value in pairs}


def in_words(settings: Mapping[str, str]) -> str:
    """loss=circle optimizer.lr=0.001"""
    return " ".join(f"{key}={_short(value)}" for key, value in settings.items())


def write_started(config: DictConfig) -> None:
    """Say what the sweep was started with, for `swept_keys`; not every sweeper does."""
    write_atomically(sweep_folder(config.hydra) / STARTED, OmegaConf.to_yaml(config))


def swept_keys(place: SweepPlace) -> set[str]:
    """The keys that have several values in a sweep, or that its sweeper searches; none where nobody says so."""
    if not (place.sweep / STARTED).is_file():
        return set()
    hydra = OmegaConf.load(place.sweep / STARTED).hydra
    typed = OverridesParser.create().parse_overrides(given_overrides(hydra))
    searched = map(str, hydra.sweeper.get("params") or ())
    return {key.lstrip("+") for key in (*(one.key_or_group for one in typed if one.is_sweep_override()), *searched)}


def sweep_folder(hydra: Any) -> Path:
    """The folder of the sweep that the `hydra` node of a configuration describes."""
    return Path(os.path.abspath(Path(hydra.runtime.cwd) / hydra.sweep.dir))


def write_record(place: SweepPlace, status: Status, message: str = "") -> None:
    """Say in the job's folder what became of it."""
    folder = place.folder.relative_to(place.sweep).as_posix()
    job = SweepJob(place.number, folder, place.overrides, status, message)
    write_atomically(place.folder / RECORD, json.dumps(asdict(job), indent=2) + "\n")


def read_records(sweep: Path) -> list[SweepJob]:
    """All jobs below the folder of a sweep, by number."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sweep.rglob(RECORD)]
    jobs = [SweepJob(**{**record, "overrides": tuple(record["overrides"])}) for record in records]
    return sorted(jobs, key=lambda job: (job.number, job.folder))


def selection_mAP(metrics: Mapping[str, Any]) -> float:
    """By which jobs are compared: the mAP of the best epoch's validation, or the test's where the epoch was chosen on
    the test's own pictures."""
    return float(metrics.get("best_epoch", {}).get("validation_mAP", metrics["mAP"]))


def read_metrics(run_dir: Path) -> Mapping[str, Any] | None:
    """What the evaluation wrote into a run's folder; None where it has not come to that."""
    path = run_dir / METRICS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _short(value: str) -> str:
    """Numbers of a sampler in three digits."""
    try:
        return f"{float(value):.3g}" if len(value) > 8 else value
    except ValueError:
        return value
