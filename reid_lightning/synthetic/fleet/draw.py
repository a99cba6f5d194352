"""Draws a fleet into a folder: on all cores, behind a lock, and either whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reid_lightning.drawing.progress import progress_bar
from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet.layout import FOLDERS, QUERY_FOLDER, write_layout
from reid_lightning.synthetic.fleet.look import VehicleLook, fleet_looks
from reid_lightning.synthetic.fleet.picture import Painter, prepare_vehicle
from reid_lightning.synthetic.fleet.plan import TEST, TRAIN, FleetPlan, PlannedTrack, plan_fleet
from reid_lightning.synthetic.fleet.spec import GENERATOR_VERSION, FleetSpec
from reid_lightning.synthetic.whole_folder import draw_once

_painters: dict[FleetSpec, Painter] = {}


def draw_fleet(root: Path | str, spec: FleetSpec, *, workers: int | None = None) -> Path:
    """Draw a fleet in VeRi-776's layout, unless it is there already.

    The bytes depend on the spec alone, not on `workers`.

    Args:
        root: where fleets are kept; made if missing.
        spec: what to draw.
        workers: processes to draw with; by default one per core that this process may use, 1 draws in this process.

    Returns:
        The folder `root/spec.folder_name`.

    Raises:
        ReIDError: the folder cannot be written, the disk is full, or `workers` is less than 1.
    """
    root = Path(root).expanduser()
    if workers is not None and workers < 1:
        raise ReIDError(f"workers is {workers}; expected 1 or more, or None for one per core.")
    workers = _cores() if workers is None else workers
    try:
        return draw_once(
            root / spec.folder_name,
            lambda folder: _draw_all(folder, plan_fleet(spec), workers=workers),
            what="the fleet",
            megabytes=20 + (spec.train_images + spec.test_images) * 8 // 1000,
            key="data.root",
            errors=(),
        )
    except BrokenProcessPool as error:
        raise ReIDError(
            f"Cannot draw the fleet into {root / spec.folder_name}: a drawing process was killed, perhaps for want of "
            "memory. Use fewer: data.workers=1."
        ) from error


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _draw_all(folder: Path, plan: FleetPlan, *, workers: int) -> None:
    """Write every file of a fleet into a new folder."""
    spec = plan.spec
    for name in (*FOLDERS.values(), QUERY_FOLDER):
        (folder / name).mkdir()
    looks = {split: fleet_looks(spec.seed, split, plan.identities(split)) for split in (TRAIN, TEST)}
    write_layout(folder, plan, looks[TRAIN] | looks[TEST])
    parameters = {"generator": GENERATOR_VERSION, **dataclasses.asdict(spec)}
    (folder / "fleet.json").write_text(json.dumps(parameters, indent=2) + "\n")
    jobs: dict[tuple[int, int], list[PlannedTrack]] = {}
    for track in plan.tracks:
        jobs.setdefault((track.split, track.identity), []).append(track)
    query = frozenset(plan.query)
    with progress_bar(transient=True) as progress:
        bar = progress.add_task("Drawing the fleet", total=spec.train_images + spec.test_images)
        work = ((spec, folder, looks[split][identity], tracks, query) for (split, identity), tracks in jobs.items())
        for written in _run(work, workers=min(workers, len(jobs))):
            progress.advance(bar, written)


def _run(work: Iterator[tuple[Any, ...]], *, workers: int) -> Iterator[int]:
    """Draw the vehicles of `work` here or in processes; yields the pictures written, vehicle by vehicle."""
    if workers == 1:
        for job in work:
            yield draw_vehicle(*job)
        return
    context = multiprocessing.get_context("spawn")
    with _unimported_main(), ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            pending: set[Future[int]] = set()
            for job in work:
                pending.add(pool.submit(draw_vehicle, *job))
                if len(pending) >= 4 * workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in pending)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Make a drawing process leave when the one that started it was killed: it would wait for work for ever, after
    writing into a folder that the next command draws again."""

    def leave() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


@contextmanager
def _unimported_main() -> Iterator[None]:
    """Keep new processes from importing the caller's script again.

    Drawing needs nothing of it; importing it would load torch in every worker and, in a script without a main guard or
    in a notebook, start the drawing again or fail. Processes start while the pool is filled, so this spans its life.
    """
    missing, main = object(), sys.modules["__main__"].__dict__
    kept = {name: main.get(name, missing) for name in ("__file__", "__spec__")}
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is not missing:
                main[name] = value
        for name, value in threads.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def draw_vehicle(
    spec: FleetSpec, folder: Path, look: VehicleLook, tracks: list[PlannedTrack], query: frozenset[str]
) -> int:
    """Draw all pictures of one vehicle into their folders; returns how many. Runs in the workers."""
    if spec not in _painters:
        _painters[spec] = Painter(spec)
    painter = _painters[spec]
    vehicle, written = prepare_vehicle(look), 0
    for track in tracks:
        for name, content in zip(track.images, painter.draw_track(track, vehicle), strict=True):
            (folder / FOLDERS[track.split] / name).write_bytes(content)
            if track.split == TEST and name in query:
                (folder / QUERY_FOLDER / name).write_bytes(content)
            written += 1
    return written
