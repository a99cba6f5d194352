"""Claim: a loader process that dies ends the training with one clear message, and the training can be gone on with.

python benchmarks/drills/dying_worker.py [workers=[1,2,4]] [folder=<the system's temporary one>/worker_drill]
                                         [output=benchmarks/results]
A process that loads pictures is killed (SIGKILL, as the kernel does for want of memory) in the middle of an epoch.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import PATIENCE, Case, Command, Running, failed_clearly, rows_of_cases, run, said_by
from benchmarks.drills.jobs import half_written, jobs_of, prepare

LIMIT = 120.0  # seconds, for a message that takes none: until the training counts as hanging


def drill(prepared: Path, folder: Path, *, workers: int, steps: int = 2) -> Case:
    """Kill one of `workers` loader processes after so many steps; then go on, and compare with a run that was whole."""
    job = jobs_of(prepared)["training"]
    arguments = (*job.command.arguments, f"loader.num_workers={workers}")
    command = Command(job.command.script, arguments)
    running = Running(command, folder / "run")
    wait_for_steps(running, folder / "run/run/logs/metrics.csv", steps)
    last = folder / "run/run/checkpoints/last.ckpt"
    while running.alive and not last.is_file():  # a step is logged before it is saved
        time.sleep(0.002)
    os.kill(min(running.others()), signal.SIGKILL)
    ended = running.end(limit=LIMIT)
    wrong = failed_clearly(ended, "a process that loads pictures was ended")
    wrong += [f"half-written: {line}" for line in half_written(folder / "run")]
    if not last.is_file():
        wrong.append("last.ckpt is gone")
    if left := running.left_alone():
        wrong.append(f"{len(left)} processes went on alone")
    again, whole = run(command, folder / "run"), run(command, folder / "whole")
    wrong += [f"the next run ended with {one.status}: {said_by(one)}" for one in (again, whole) if one.status != 0]
    if again.status == whole.status == 0:
        wrong += job.differences(folder / "run", folder / "whole")
    return Case(f"1 of {workers} loader processes", ended.status, ended.seconds, said_by(ended), tuple(wrong))


def wait_for_steps(running: Running, log: Path, steps: int) -> None:
    """Until a training has logged so many steps. RuntimeError: it has ended. TimeoutError: it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or len(log.read_bytes().splitlines()) < 1 + steps:
        if not running.alive:
            raise RuntimeError(f"the training ended before step {steps}: {running.words()[-1000:]}")
        if time.monotonic() > deadline:
            running.stop_group()
            raise TimeoutError(f"no {steps} steps after {PATIENCE:.0f} seconds: {running.words()[-1000:]}")
        time.sleep(0.002)


def main() -> None:
    """Do it with as many loader processes as are asked for and write one table."""
    arguments = OmegaConf.from_cli()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "worker_drill")).absolute()
        prepare(folder / "prepared")
        cases = [
            drill(folder / "prepared", folder / f"{workers}_workers", workers=workers)
            for workers in arguments.get("workers", [1, 2, 4])
        ]
    note = "One loader process gets SIGKILL after two steps. The same command then goes on to the bits of a whole run."
    report("drill_dying_worker", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
