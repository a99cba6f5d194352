"""Claim: a clock that is put back by a day in the middle of a command changes neither its results nor their order.

python benchmarks/drills/clock_jump.py [folder=<the system's temporary one>/clock_drill] [output=benchmarks/results]
Registration and search read a clock that jumps. A training reads none; a killed one goes on after the jump, with a
last checkpoint that seems to be the oldest.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import KILLED, Case, Kill, Running, rows_of_cases, run, said_by
from benchmarks.drills.jobs import Job, jobs_of, prepare
from benchmarks.drills.limits import DAY, JUMPED, clock_that_jumps

CALLS = {"registration": 3, "search": 1}
"""The reading of the clock at which it jumps; none of them reads it often."""


def drill(job: Job, folder: Path, *, whole: Path) -> Case:
    """The clock jumps while the job runs."""
    ended = Running(job.command, folder, before=partial(clock_that_jumps, after=CALLS[job.name])).end()
    wrong = [] if ended.status == 0 else [f"its status is {ended.status}: {said_by(ended)}"]
    if JUMPED not in ended.output:
        wrong.append("the clock was not read often enough to jump")
    wrong += [] if wrong else job.differences(folder, whole)
    return Case(f"{job.name}, a day back", ended.status, ended.seconds, said_by(ended), tuple(wrong))


def drill_resuming(job: Job, folder: Path, *, whole: Path, change: int) -> Case:
    """The training is killed before its `change`-th change of the file system, the clock is put back, and last.ckpt
    bears an older time than what was written before it."""
    killed = run(job.command, folder, kill=Kill(change=change))
    wrong = [] if killed.status == KILLED else [f"it was not killed but ended with {killed.status}"]
    checkpoints = sorted((folder / "run/checkpoints").glob("*.ckpt"))
    now = time.time()
    for path in checkpoints:
        at = now - 2 * DAY if path.name == "last.ckpt" else now + DAY
        os.utime(path, (at, at))
    if len(checkpoints) < 2:
        wrong.append(f"there are {len(checkpoints)} checkpoints, which have no order")
    again = Running(job.command, folder, before=partial(clock_that_jumps, after=1)).end()
    if again.status != 0:
        wrong.append(f"its status is {again.status}: {said_by(again)}")
    else:
        wrong += job.differences(folder, whole)
    return Case("training, killed and resumed a day back", again.status, again.seconds, said_by(again), tuple(wrong))


def main() -> None:
    """All of it, and one table."""
    arguments = OmegaConf.from_cli()
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "clock_drill")).absolute()
        prepare(folder / "prepared")
        jobs = jobs_of(folder / "prepared")
        whole = {name: folder / name / "whole" for name in ("training", *CALLS)}
        undisturbed = {name: run(jobs[name].command, place) for name, place in whole.items()}
        change = undisturbed["training"].changes * 3 // 4
        training = jobs["training"], folder / "training/resumed"
        cases.append(drill_resuming(*training, whole=whole["training"], change=change))
        cases += [drill(jobs[name], folder / name / "jump", whole=whole[name]) for name in CALLS]
    note = "time.time is put back by a day in the middle. Right is: status 0 and the result of an undisturbed run."
    report("drill_clock_jump", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
