"""The work behind the demo button: draw two cameras' traffic, make the starter a model here, register the first camera.

Drawing and exporting are the commands of the command line, each in a process of its own, so they can be stopped and a
fault in one of them ends no server. The run lies aside until it is whole: `bundle=latest` never finds half a model.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

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
_DRAWN, _MODEL, _ALL = 50, 70, 100  # how much of the whole is done after each piece, from the time they take
_LOOK_EVERY, _PATIENCE = 0.25, 5.0  # seconds


@dataclass(frozen=True)
class DemoPlan:
    """What is made, and where; the defaults are what the command line does without arguments.

    Args:
        traffic: what is drawn for the two cameras.
        model: the command that leaves a bundle in its run folder.
        data: where drawn traffic is kept.
        runs: where runs are kept.
    """

    traffic: TrafficSpec = field(default_factory=TrafficSpec)
    model: tuple[str, ...] = (*REID, "export", "checkpoint=starter", "formats=[safetensors]")
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
    shutil.rmtree(aside, ignore_errors=True)  # of a server that was killed, or of a demo that failed
    aside.mkdir()
    first, second = (plan.data / plan.traffic.folder_name / f"{camera}.mp4" for camera in CAMERAS)
    job.step(done=0, total=_ALL, note="drawing what two cameras saw")
    run_child(_drawing(plan), log=aside / "traffic.log", look=lambda: job.step(done=0))
    run = aside / name
    run.mkdir()

    job.step(done=_DRAWN, note="preparing the model")
    command = [sys.executable, *plan.model, f"hydra.run.dir={run}"]
    run_child(command, log=run / "output.log", look=lambda: job.step(done=_DRAWN))
    try:
        vehicles = _register(job, context, first, bundle=run / "bundle")
    finally:
        final = plan.runs / "train" / name
        final.parent.mkdir(exist_ok=True)
        run.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    job.step(done=_ALL)
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
    job.step(done=_MODEL, note="registering the first camera's vehicles")
    device = best_device(settings.device, backend="torch")
    embedder = load_reid_model(bundle, device=device)
    with (
        context.registrar(context.finder(), embedder) as registrar,
        open_source(clip, every=settings.every) as source,
    ):

        def on_step(step: Step) -> None:
            share = 0.0 if not source.length else min(1.0, step.frame.number / source.length)
            note = f"registering the first camera's vehicles, {count(len(found), 'vehicle')} so far"
            job.step(done=round(_MODEL + share * (_ALL - _MODEL)), note=note)

        with closing(registrar.register(source, camera=CAMERAS[0], on_step=on_step)) as registered:
            for one in registered:
                found.add(one.sighting.vehicle)
    return len(found)


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
