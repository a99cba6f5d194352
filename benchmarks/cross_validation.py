"""Claim: the README's command for crops of two cameras holds on every fifth of the vehicles, not on one lucky split.

python benchmarks/cross_validation.py crops=<folder of the two-camera crops> [parts=[folds,vehicles,resolution]]
    [folds=[1,2,3,4,5]] [seeds=[0,1,2]] [sizes=[50,100,200]] [sides=[[96,96],...]] [runs=runs/cross_validation]
    [output=benchmarks/results] [overrides=[...]]
`folds`: five folds over the vehicles, three partitions (data.seed) of different training seeds. `vehicles`: the same
command with fewer training vehicles, asked for the same fold. `resolution`: other sizes of training pictures and of
those embedded; larger ones learn for fewer epochs, in about as many multiplications. Every run is evaluated once, after
its last epoch: nothing is chosen. Runs that are there already are not repeated: this can be stopped and started again.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from omegaconf import OmegaConf
from training_clock import Reading

from reid_lightning.atomic import write_atomically
from reid_lightning.data.readers.folder import read_folder

PROJECT = Path(__file__).resolve().parents[1]
NAMES = r"(?P<identity>(?P<type>[a-z]+)_\d+)_cam(?P<camera>\d+)"
PAIRS = ("data.query_cameras=[1]", "data.gallery_cameras=[2]")
EPOCHS, SIDE, EMBEDDED = 12, 96, 128


@dataclass(frozen=True)
class Run:
    """One training: row of the table, its seed and fold, and what differs from the README's command."""

    row: str
    seed: int
    fold: int
    vehicles: int | None = None
    side: int = SIDE
    embedded: int = EMBEDDED

    @property
    def epochs(self) -> int:
        """As many as cost what 12 epochs of 96 pixels cost, as multiplications go."""
        return max(1, round(EPOCHS * (SIDE / self.side) ** 2))

    @property
    def name(self) -> str:
        """Of its folder: runs of the same terms are one, whichever row asks for them."""
        return f"{self.side}-{self.embedded}px-{self.vehicles or 'all'}-seed{self.seed}-fold{self.fold}"


def main() -> None:
    """Train what has not been trained yet, a round of all rows for each seed, and print a table for each part."""
    given = OmegaConf.to_container(OmegaConf.from_cli())
    assert isinstance(given, dict)
    if "crops" not in given:
        raise SystemExit("crops=<folder> is missing: the two-camera crops.")
    crops, output = Path(given["crops"]).resolve(), Path(given.get("output", "benchmarks/results"))
    folder = Path(given.get("runs", "runs/cross_validation")).resolve()
    for part in given.get("parts", ["folds", "vehicles", "resolution"]):
        rows: dict[str, list[tuple[Run, dict[str, float]]]] = {}
        for run in PARTS[part](given):
            figures = outcome(run, crops, folder / run.name, given.get("overrides", []))
            rows.setdefault(run.row, []).append((run, figures))
        name = f"cross_validation_{part}"
        report(name, [{"trained with": row, **cells(runs)} for row, runs in rows.items()], output, note=NOTES[part])


def folds(given: dict[str, list[int]]) -> Iterator[Run]:
    """A row a partition, and one of all."""
    for seed in given.get("seeds", [0, 1, 2]):
        for fold in given.get("folds", [1, 2, 3, 4, 5]):
            yield Run(f"partition and seed {seed}", seed, fold)
    for seed in given.get("seeds", [0, 1, 2]):
        for fold in given.get("folds", [1, 2, 3, 4, 5]):
            yield Run("all", seed, fold)


def vehicles(given: dict[str, list[int]]) -> Iterator[Run]:
    """A row a number of training vehicles."""
    for seed in given.get("seeds", [0, 1, 2]):
        for count in given.get("sizes", [50, 100, 200]):
            yield Run(f"{count} vehicles", seed, 1, vehicles=count)
        yield Run("all others (405 or 406)", seed, 1)


def resolution(given: dict[str, list[tuple[int, int]]]) -> Iterator[Run]:
    """A row a pair of sizes."""
    for seed in given.get("seeds", [0, 1, 2]):
        for side, embedded in given.get("sides", [(96, 96), (SIDE, EMBEDDED), (96, 160), (128, 128), (128, 176)]):
            run = Run("", seed, 1, side=side, embedded=embedded)  # type: ignore[arg-type]
            yield replace(run, row=f"{side} px, {run.epochs} epochs; embedded at {embedded} px")


PARTS = {"folds": folds, "vehicles": vehicles, "resolution": resolution}
NOTES = {
    "folds": "Mean and standard deviation over runs; 101 or 102 vehicles of 507 are asked for in each, queries from "
    "camera 1, gallery camera 2, and the others trained on.",
    "vehicles": "Mean and standard deviation over runs; the same fifth of the vehicles is asked for in each row.",
    "resolution": "Mean and standard deviation over runs; equal multiplications in training, not in searching.",
}


def outcome(run: Run, crops: Path, folder: Path, overrides: Sequence[str]) -> dict[str, float]:
    """Figures of the run that lies there or is made now: mAP, rank-1 (percent), CPU seconds of training."""
    clock = folder / "clock.json"
    if not (folder / "metrics.json").exists():
        words = [
            *where(run, crops, folder),
            *PAIRS,
            f"seed={run.seed}",
            "model.pretrained=drawn",
            "loader.identities_per_batch=32",
            "loader.images_per_identity=2",
            f"input.height={run.embedded}",
            f"input.width={run.embedded}",
            f"input.train_scale={run.side / run.embedded}",
            f"trainer.max_epochs={run.epochs}",
            f"trainer.check_val_every_n_epoch={run.epochs}",
            "data.validation=test",
            "+callbacks.training_clock._target_=training_clock.TrainingClock",
            f"+callbacks.training_clock.path={clock}",
            f"hydra.run.dir={folder}",
            *overrides,
        ]
        command = [sys.executable, "-c", _TRAIN, *words]
        subprocess.run(command, check=True, cwd=PROJECT)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    reading = Reading(**json.loads(clock.read_text(encoding="utf-8")))
    return {"mAP": 100 * metrics["mAP"], "rank-1": 100 * metrics["cmc"]["1"], "CPU s": reading.cpu_s}


_TRAIN = "import runpy, sys; sys.path.insert(0, 'benchmarks'); runpy.run_path('train.py', run_name='__main__')"


def where(run: Run, crops: Path, folder: Path) -> list[str]:
    """The words that name the pictures: a fold of the folder, or a table with fewer training vehicles."""
    split = f"{run.fold}/5"
    if run.vehicles is None:
        return [
            "data=folder",
            f"data.root={crops}",
            f"data.pattern={NAMES}",
            f"data.fold={split}",
            f"data.seed={run.seed}",
        ]
    dataset = read_folder(root=crops, pattern=NAMES, fold=split, seed=run.seed, query_cameras=[1], gallery_cameras=[2])
    identities = sorted({image.identity for image in dataset.train})
    kept = set(random.Random(run.seed).sample(identities, run.vehicles))
    lines = ["path,identity,camera,split"]
    for split, images in (("train", dataset.train), ("test", (*dataset.query, *dataset.gallery))):
        for image in images:
            if split == "test" or image.identity in kept:
                path = Path(str(image.path)).relative_to(crops).as_posix()
                lines.append(f"{path},{image.identity},{image.camera},{split}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    table = write_atomically(folder.with_suffix(".csv"), "\n".join(lines) + "\n")
    return ["data=csv", f"data.path={table}", f"data.root={crops}"]


def cells(runs: Sequence[tuple[Run, dict[str, float]]]) -> dict[str, str]:
    """Means and standard deviations of the runs of one row."""

    def spread(key: str, digits: int = 1) -> str:
        values = [figures[key] for _, figures in runs]
        deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.{digits}f}{deviation}"

    worst = min(figures["rank-1"] for _, figures in runs)
    return {
        "runs": str(len(runs)),
        "mAP": spread("mAP"),
        "rank-1": spread("rank-1"),
        "lowest rank-1": f"{worst:.1f}",
        "CPU s": spread("CPU s", 0),
    }


if __name__ == "__main__":
    main()
