"""The work behind the demo button: draw two cameras' traffic, train the default model, register the first camera.

Drawing and training are the commands of the command line, each in a process of its own, so they can be stopped and a
fault in one of them ends no server. The run lies aside until its training is over: `bundle=latest` never finds a
half-trained model.
"""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Cancelled, Job
from reid_lightning.app.text import count
from reid_lightning.bundle.loading import best_device
from reid_lightning.errors import ReIDError
from reid_lightning.search import load_reid_model
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.track_source import Step
from reid_lightning.synthetic.traffic import CAMERAS, TrafficSpec

PROJECT = Path(__file__).resolve().parents[3]
REID = ("-m", "reid_lightning.commands")
_ASIDE = "demo"  # below the runs, but not below runs/train
_DRAWN, _TRAINED, _ALL = 20, 85, 100  # how much of the whole is done after each piece, from the time they take
_LOOK_EVERY, _PATIENCE = 0.25, 5.0  # seconds


@dataclass(frozen=True)
class DemoPlan:
    """What is made, and where; the defaults are what the command line does without arguments.

    Args:
        traffic: what is drawn for the two cameras.
        training: the settings of the training.
        train: the command that trains, with these.
        data: where drawn traffic is kept.
        runs: where runs are kept.
    """

    traffic: TrafficSpec = field(default_factory=TrafficSpec)
    training: tuple[str, ...] = ()
    train: tuple[str, ...] = (*REID, "train")
    data: Path = Path("data/synthetic")
    runs: Path = Path("runs")


@dataclass(frozen=True)
class Demo:
    """What came of it. `vehicles`: how many were registered; None: the gallery held some before, and was left alone."""

    bundle: Path
    clip: Path
    """Of the second camera, to search in."""
    camera: str
    vehicles: int | None


def make_demo(context: AppContext, plan: DemoPlan) -> Callable[[Job], Demo]:
    """The work for a `Job`. The model stays when only registering fails or is stopped."""

    def work(job: Job) -> Demo:
        plan.runs.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(plan.runs / ".demo.lock", timeout=0):
                return _make(job, context, plan)
        except Cancelled:
            shutil.rmtree(plan.runs / _ASIDE, ignore_errors=True)
            raise
        except Timeout as error:
            raise ReIDError("the demo is being made already, in another tab or by another server.") from error

    return work


def _make(job: Job, context: AppContext, plan: DemoPlan) -> Demo:
    name = f"demo-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    aside = plan.runs / _ASIDE
    shutil.rmtree(aside, ignore_errors=True)  # of a server that was killed, or of a training that failed
    aside.mkdir()
    first, second = (plan.data / plan.traffic.folder_name / f"{camera}.mp4" for camera in CAMERAS)
    job.step(done=0, total=_ALL, note="drawing what two cameras saw")
    run_child(_drawing(plan), log=aside / "traffic.log", look=lambda: job.step(done=0))
    run = aside / name
    run.mkdir()

    def look() -> None:
        share, note = training_progress(run)
        job.step(done=round(_DRAWN + share * (_TRAINED - _DRAWN)), note=note)

    command = [sys.executable, *plan.train, *plan.training, f"hydra.run.dir={run}"]
    run_child(command, log=run / "output.log", look=look)
    try:
        vehicles = _register(job, context, first, bundle=run / "bundle")
    finally:
        final = plan.runs / "train" / name
        final.parent.mkdir(exist_ok=True)
        run.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    return Demo(final / "bundle", second, CAMERAS[1], vehicles)


def _drawing(plan: DemoPlan) -> list[str]:
    spec = plan.traffic
    names = ("seed", "vehicles", "seconds", "frames_per_second", "width", "height")
    sizes = [f"{name}={getattr(spec, name)}" for name in names]
    return [sys.executable, *REID, "data", "traffic", f"folder={plan.data.absolute()}", *sizes]


def _register(job: Job, context: AppContext, clip: Path, *, bundle: Path) -> int | None:
    """What register.py does with the first camera's clip; returns how many vehicles, None where there were some."""
    if next(iter(context.gallery.sightings()), None) is not None:
        return None
    settings, found = context.settings, set[str]()
    job.step(done=_TRAINED, note="registering the first camera's vehicles")
    device = best_device(settings.device, backend="torch")
    embedder = load_reid_model(bundle, device=device)
    with (
        context.registrar(context.finder(), embedder) as registrar,
        open_source(clip, every=settings.every) as source,
    ):

        def on_step(step: Step) -> None:
            share = 0.0 if not source.length else min(1.0, step.frame.number / source.length)
            note = f"registering the first camera's vehicles, {count(len(found), 'vehicle')} so far"
            job.step(done=round(_TRAINED + share * (_ALL - _TRAINED)), note=note)

        for one in registrar.register(source, camera=CAMERAS[0], on_step=on_step):
            found.add(one.sighting.vehicle)
    return len(found)


def training_progress(run: Path) -> tuple[float, str]:
    """How much of a run of train.py is done, from 0 to 1, and that in words, read from what it has written so far."""
    try:
        epochs = int(OmegaConf.load(run / "config.yaml").trainer.max_epochs)
    except (OSError, AttributeError):
        return 0.0, "starting the training"
    try:
        with (run / "logs/metrics.csv").open(encoding="utf-8", newline="") as file:
            scores = [row["val/mAP"] for row in csv.DictReader(file) if row.get("val/mAP")]
    except OSError:
        return 0.0, "drawing the vehicles to learn from"
    if not scores:
        return 0.0, f"training, epoch 1 of {epochs}"
    done = len(scores)
    if done >= epochs:
        return 1.0, "judging the trained model"
    return done / epochs, f"training, epoch {done + 1} of {epochs}, mAP {float(scores[-1]):.2f} so far"


def run_child(command: Sequence[str], *, log: Path, look: Callable[[], None]) -> None:
    """Run a command to its end with its output in `log`; `look` is called often, and what it raises stops the command.

    Raises:
        ReIDError: the command failed; with the last line that it wrote.
    """
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables, start_new_session=True
        )

        def stop() -> None:
            _stop(child)

        atexit.register(stop)  # a server that ends takes it along
        try:
            while True:
                look()
                try:
                    child.wait(_LOOK_EVERY)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            stop()
            atexit.unregister(stop)
    if child.returncode != 0:
        ended = f"it was ended by signal {-child.returncode}" if child.returncode < 0 else _last_line(log)
        raise ReIDError(f"{ended or f'it ended with status {child.returncode}'} (all that it said: {log})")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child and the processes that it has started, if they still run."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
        except ProcessLookupError:
            return
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            continue


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line), "")
