"""Claim: with the same pictures, epochs and batch our recipe is not below fast-reid's SBS in mAP, in half of its time.

python benchmarks/recipes.py fastreid=<clone> [data_root=data/synthetic] [size=small] [epochs=4] [seeds=[0,1,2]]
    [input=64] [depth=18x|lite0] [crops=<folder of the two-camera crops>] [batch=[16,4]] [threads=1] [workers=2]
    [runs=runs/recipes] [output=benchmarks/results]
    [rivals=[adam,sgd]] [experiment=fleet_small] [overrides=[...]] (ours, for train.py) [settings=[...]] (theirs)
Our time is compared with each rival's: its SBS as in its base file (Adam) and as in its file for VeRi (SGD). Every run
has a process of its own, in turns (ours, theirs, ours, ...), and leaves its outcome in `runs`: this can be stopped and
started again. The clocks count training alone: from before the first picture is read to the last step.
From the same ImageNet weights, with our defaults: depth=lite0 input=96 experiment=null; and on real crops, another
fifth of the vehicles kept for the test by each seed: crops=<folder> batch=[32,2] epochs=12.
On a GPU, at VeRi-776's size: size=veri epochs=60 input=256 depth=50x device=gpu threads=8 workers=8 (not run yet).
"""

from __future__ import annotations

import json
import math
import os
import re
import statistics
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from fastreid_training import LITE, Training, train_fastreid
from omegaconf import OmegaConf
from rich.console import Console
from training_clock import Reading

from reid_lightning.atomic import write_atomically
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.data.records import Split, VehicleDataset
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import evaluate_retrieval
from reid_lightning.synthetic.fleet import read_synthetic

PROJECT = Path(__file__).resolve().parents[1]
RIVALS = {
    "adam": ("fast-reid SBS, its base file (Adam)", "configs/Base-SBS.yml"),
    "sgd": ("fast-reid SBS, its VeRi file (SGD)", "configs/VeRi/sbs_R50-ibn.yml"),
}
MODELS = {"18x": "resnet18_ibn_a", "34x": "resnet34_ibn_a", "50x": "resnet50_ibn_a", "101x": "resnet101_ibn_a"}
MODELS[LITE] = "efficientnet_lite0"
NAMES = r"(?P<identity>(?P<type>[a-z]+)_\d+)_cam(?P<camera>\d+)"
OUTCOME = "outcome.json"


@dataclass(frozen=True)
class Terms:
    """What all contestants are given, and what each is given in its own words."""

    size: str = "small"
    crops: str | None = None
    batch: tuple[int, int] = (16, 4)
    epochs: int = 4
    input: int = 64
    depth: str = "18x"
    device: str = "cpu"
    threads: int = 1
    workers: int = 2
    experiment: str | None = "fleet_small"
    overrides: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """A name for runs under these terms, and no others."""
        mark = zlib.crc32(repr(self).encode())
        data = self.size if self.crops is None else "crops"
        return f"{data}-{self.depth}-{self.input}px-{self.epochs}epochs-{self.device}-{mark:08x}"


@dataclass(frozen=True)
class Places:
    """Where everything lies, and which runs are asked for."""

    fastreid: str
    data_root: str = "data/synthetic"
    runs: str = "runs/recipes"
    output: str = "benchmarks/results"
    seeds: tuple[int, ...] = (0, 1, 2)
    rivals: tuple[str, ...] = field(default_factory=lambda: tuple(RIVALS))


@dataclass(frozen=True)
class Outcome:
    """A finished run. `own_mAP`: what the rival's own evaluator makes of its embeddings."""

    mAP: float
    rank_1: float
    reading: Reading
    own_mAP: float | None = None


def main() -> None:
    """Train what has not been trained yet, in turns, and print the table over the seeds."""
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in _arguments().items()}
    places = Places(**{key: given.pop(key) for key in list(given) if key in Places.__dataclass_fields__})
    terms = Terms(**given)
    os.environ["OMP_NUM_THREADS"] = str(terms.threads)  # of every process started here
    contestants: dict[str, tuple[str, Callable[..., Outcome]]] = {"ours": ("ours", train_ours)}
    for rival in places.rivals:
        name, config = RIVALS[rival]
        contestants[rival] = name, partial(train_theirs, config=config)
    outcomes: dict[str, list[Outcome]] = {name: [] for name, _ in contestants.values()}
    for seed in places.seeds:
        dataset = data_of(terms, places, seed)
        for key, (name, train) in contestants.items():
            run = Path(places.runs).resolve() / terms.folder / f"{key}-{seed}"
            outcome = cached(run, partial(train, terms, places, dataset, seed))
            outcomes[name].append(outcome)
            text = f"seed {seed}, {name}: mAP {100 * outcome.mAP:.1f}, {outcome.reading.cpu_s:.0f} CPU s"
            Console(stderr=True).print(f"[dim]{text}[/dim]")
    rows = [row(name, runs, outcomes["ours"]) for name, runs in outcomes.items()]
    marks = {terms.depth: terms.depth == LITE, terms.size: terms.size != "small", "crops": terms.crops is not None}
    title = "_".join(["recipes", *(mark for mark, wanted in marks.items() if wanted)])
    report(title, rows, Path(places.output), note=note(terms, dataset, outcomes))


def data_of(terms: Terms, places: Places, seed: int) -> VehicleDataset:
    """The drawn fleet, or the crops with another fifth of the vehicles for the test."""
    if terms.crops is None:
        return read_synthetic(root=places.data_root, size=terms.size)
    fold = f"{seed % 5 + 1}/5"
    return read_folder(root=terms.crops, pattern=NAMES, fold=fold, query_cameras=[1], gallery_cameras=[2])


def cached(run: Path, train: Callable[[Path], Outcome]) -> Outcome:
    """The outcome that lies in `run`, or that of training there."""
    path = run / OUTCOME
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(train(run)), indent=2) + "\n")
    content = json.loads(path.read_text(encoding="utf-8"))
    return Outcome(**{**content, "reading": Reading(**content["reading"])})


def train_ours(terms: Terms, places: Places, dataset: VehicleDataset, seed: int, run: Path) -> Outcome:
    """train.py with our experiment file, judged by the bundle that it exports after the last step."""
    clock = run / "clock.json"
    if terms.crops is None:
        data = ["data=synthetic", f"data.root={Path(places.data_root).resolve()}", f"data.size={terms.size}"]
    else:
        data = ["data=folder", f"data.root={Path(terms.crops).resolve()}", f"data.pattern={NAMES}"]
        data += [f"data.fold={seed % 5 + 1}/5", "data.query_cameras=[1]", "data.gallery_cameras=[2]"]
    words = [
        *([f"experiment={terms.experiment}"] if terms.experiment else []),
        f"trainer={terms.device}",
        f"model={MODELS[terms.depth]}",
        f"model.pretrained={'wheel' if terms.depth == LITE else 'null'}",
        *data,
        f"input.height={terms.input}",
        f"input.width={terms.input}",
        "input.train_scale=1",
        f"loader.identities_per_batch={terms.batch[0]}",
        f"loader.images_per_identity={terms.batch[1]}",
        f"loader.num_workers={terms.workers}",
        f"trainer.max_epochs={terms.epochs}",
        f"trainer.check_val_every_n_epoch={terms.epochs}",
        "data.validation=test",  # all training pictures, as the rivals; one epoch alone is validated
        f"seed={seed}",
        f"hydra.run.dir={run}",
        "+callbacks.training_clock._target_=training_clock.TrainingClock",
        f"+callbacks.training_clock.path={clock}",
        *terms.overrides,
    ]
    path = os.pathsep.join(filter(None, (str(PROJECT / "benchmarks"), os.environ.get("PYTHONPATH"))))
    subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), *words], check=True, env={**os.environ, "PYTHONPATH": path}
    )
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return Outcome(metrics["mAP"], metrics["cmc"]["1"], Reading(**json.loads(clock.read_text(encoding="utf-8"))))


def train_theirs(
    terms: Terms, places: Places, dataset: VehicleDataset, seed: int, run: Path, *, config: str
) -> Outcome:
    """fast-reid, judged by our `evaluate_retrieval` under the protocol of our own evaluation."""
    fleet = dataset.train[0].path.parents[1] if terms.crops is None else veri_layout(dataset, run / "crops")
    training = Training(
        clone=str(Path(places.fastreid).resolve()),
        config=config,
        fleet=str(fleet),
        folder=str(run),
        pictures=len(dataset.train),
        seed=seed,
        epochs=terms.epochs,
        side=terms.input,
        depth=terms.depth,
        batch=math.prod(terms.batch),
        instances=terms.batch[1],
        workers=terms.workers,
        on_gpu=terms.device == "gpu",
        settings=terms.settings,
    )
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        trained = process.submit(train_fastreid, training).result()
    result = evaluate_retrieval(
        _in_order(trained.query, dataset.query), _in_order(trained.gallery, dataset.gallery), **ranking_labels(dataset)
    )
    return Outcome(result.mAP, result.cmc[1], trained.reading, trained.own_mAP)


def veri_layout(dataset: VehicleDataset, folder: Path) -> Path:
    """Links to the pictures under the names that its VeRi class reads: <identity>_c<camera>_<name>.jpg."""
    identities = {image.identity for image in (*dataset.train, *dataset.query, *dataset.gallery)}
    numbers = {name: number for number, name in enumerate(sorted(identities), 1)}
    for side, images in (("train", dataset.train), ("query", dataset.query), ("test", dataset.gallery)):
        (folder / f"image_{side}").mkdir(parents=True, exist_ok=True)
        for image in images:
            link = (
                folder / f"image_{side}" / f"{numbers[image.identity]:04d}_c{int(image.camera):03d}_{image.path.name}"
            )
            link.unlink(missing_ok=True)
            link.symlink_to(image.path.resolve())
    return folder


def row(name: str, runs: Sequence[Outcome], ours: Sequence[Outcome]) -> dict[str, str]:
    """Means and standard deviations over the seeds, and our time as a share of this contestant's."""

    def share(clock: str) -> str:
        return f"{_mean(ours, clock) / _mean(runs, clock):.2f}"

    return {
        "recipe": name,
        "mAP": _spread([100 * run.mAP for run in runs]),
        "rank-1": _spread([100 * run.rank_1 for run in runs]),
        "steps": str(runs[0].reading.steps),
        "CPU s": f"{_mean(runs, 'cpu_s'):.0f}",
        "wall s": f"{_mean(runs, 'wall_s'):.0f}",
        "our CPU s / its": share("cpu_s"),
        "our wall s / its": share("wall_s"),
    }


def note(terms: Terms, dataset: VehicleDataset, outcomes: dict[str, list[Outcome]]) -> str:
    """What holds for all rows."""
    gaps = [abs(run.own_mAP - run.mAP) for runs in outcomes.values() for run in runs if run.own_mAP is not None]
    seeds = len(next(iter(outcomes.values())))
    network = f"ResNet{terms.depth.rstrip('x')}-IBN-a from random weights"
    if terms.depth == LITE:
        network = "EfficientNet-Lite0 from ImageNet weights"
    return (
        f"{dataset.name}, {len(dataset.train):,} training pictures; {network}, "
        f"{terms.input} px, {terms.epochs} epochs, batch {terms.batch[0]} x {terms.batch[1]}, {seeds} seed(s), "
        f"{terms.threads} thread(s) and {terms.workers} workers. Times are of training alone. fast-reid's evaluator "
        f"differs from ours by {max(gaps, default=0):.0e} in mAP at most."
    )


def _arguments() -> dict[str, object]:
    return OmegaConf.to_container(OmegaConf.from_cli())


def _in_order(embeddings: dict[str, np.ndarray], images: Split) -> torch.Tensor:
    ends = {re.sub(r"^\d{4}_c\d{3}_(?=[a-z])", "", name): row for name, row in embeddings.items()}
    return torch.from_numpy(np.stack([ends[image.path.name] for image in images]))


def _mean(runs: Sequence[Outcome], clock: str) -> float:
    return statistics.mean(getattr(run.reading, clock) for run in runs)


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
