"""Claim: kill -9 at any moment of training, export, drawing, registration or sharding costs nothing but time.

python benchmarks/drills/kill.py [rounds=100] [jobs=[training,export,drawing,registration,sharding]] [seed=0]
                                 [folder=<the system's temporary one>/kill_drill] [output=benchmarks/results]
Each round kills a command once or twice at drawn moments, starts the same command again, and compares what it has made
with what a run has made that nobody killed. Every other kill comes just before a drawn change of the file system, the
others after a drawn time. Rounds that lie in `folder` already are not done again, so that an interrupted drill goes on.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf
from rich.console import Console

from benchmarks.common import report
from benchmarks.drills.commands import KILLED, Ended, Kill, Running, run
from benchmarks.drills.jobs import Job, half_written, jobs_of, leftovers, prepare

JOBS = ("training", "export", "drawing", "registration", "sharding")
_TRIES = 20  # for a kill that comes before the command has ended


@dataclass(frozen=True)
class Round:
    """What became of one round: when it was killed, and what was wrong afterwards, a line each; `left` counts hidden
    files that the killed processes left and that their successor did not remove."""

    job: str
    number: int
    kills: tuple[str, ...]
    half_written: tuple[str, ...]
    wrong: tuple[str, ...]
    left: tuple[str, ...]


def drawn_kill(generator: random.Random, whole: Ended) -> Kill:
    """Before a change of the file system, or after a time; both drawn over all of an uninterrupted run."""
    if generator.random() < 0.5:
        return Kill(change=generator.randint(1, whole.changes))
    return Kill(seconds=generator.uniform(0.0, whole.seconds))


def drill(job: Job, folder: Path, *, whole_run: Ended, whole: Path, kills: Sequence[Kill], number: int = 0) -> Round:
    """Kill the job's command with each of `kills`, start it once more, and compare with `whole`, the folder of the run
    that was not killed."""
    shutil.rmtree(folder, ignore_errors=True)
    broken, wrong, reported, groups = [], [], [], []
    for kill in kills:
        for _ in range(_TRIES):
            running = Running(job.command, folder, kill=kill)
            ended = running.end()
            groups.append(running)
            if ended.status == KILLED or kill.seconds is None or whole_run.status != 0:
                break
            if reported:  # what was killed before may have left little to do
                break
            shutil.rmtree(folder, ignore_errors=True)  # it was faster than the run that was measured
            kill = Kill(seconds=0.7 * kill.seconds)
        reported.append(_words(kill) if ended.status == KILLED else "none, it was done")
        broken += [f"after {reported[-1]}: {line}" for line in half_written(folder)]
        if ended.status not in (KILLED, 0):
            wrong += _unless_done(job, ended)
    last = Running(job.command, folder)
    ended = last.end()
    wrong += _unless_done(job, ended)
    orphans = [pid for running in (*groups, last) for pid in running.left_alone()]
    if orphans:
        wrong.append(f"{len(orphans)} processes went on alone")
    left = leftovers(folder)
    broken += [f"at the end: {line}" for line in half_written(folder)]
    if not wrong:
        wrong += job.differences(folder, whole)
    return Round(job.name, number, tuple(reported), tuple(broken), tuple(wrong), tuple(left))


def _unless_done(job: Job, ended: Ended) -> list[str]:
    if ended.status == 0 or (ended.status == 1 and job.says_done is not None and job.says_done in ended.output):
        return []
    return [f"the command ended with status {ended.status}: {ended.output[-600:]}"]


def _words(kill: Kill) -> str:
    return f"change {kill.change}" if kill.change is not None else f"{kill.seconds:.2f} s"


def rows_of(rounds: Sequence[Round]) -> list[dict[str, str]]:
    """A line for each job, and one for all."""

    def row(name: str, some: Sequence[Round]) -> dict[str, str]:
        happened = [kill for one in some for kill in one.kills if not kill.startswith("none")]
        return {
            "job": name,
            "rounds": f"{len(some)}",
            "kills": f"{len(happened)}",
            "at a change": f"{sum(kill.startswith('change') for kill in happened)}",
            "half-written": f"{sum(bool(one.half_written) for one in some)}",
            "restart ended wrong": f"{sum(bool(one.wrong) for one in some)}",
            "hidden files left": f"{sum(bool(one.left) for one in some)}",
        }

    names = dict.fromkeys(one.job for one in rounds)
    return [*(row(name, [one for one in rounds if one.job == name]) for name in names), row("all", rounds)]


def main() -> None:
    """Do the rounds that are missing and write one table."""
    arguments = OmegaConf.from_cli()
    folder = Path(arguments.get("folder", Path(tempfile.gettempdir()) / "kill_drill")).absolute()
    prepare(folder / "prepared")
    jobs = jobs_of(folder / "prepared")
    names = list(arguments.get("jobs", JOBS))
    seed, wanted = arguments.get("seed", 0), arguments.get("rounds", 100)
    done: list[Round] = []
    for number in range(wanted):
        job = jobs[names[number % len(names)]]
        file = folder / f"round_{seed}_{number}_{job.name}.json"
        if not file.exists():
            whole, measured = folder / job.name / "whole", folder / job.name / "whole.json"
            if not measured.exists():
                shutil.rmtree(whole, ignore_errors=True)
                measured.write_text(json.dumps(dataclasses.asdict(run(job.command, whole))))
            whole_run = Ended(**json.loads(measured.read_text()))
            generator = random.Random(f"{seed} {number} {job.name}")
            kills = [drawn_kill(generator, whole_run) for _ in range(generator.choice((1, 1, 2)))]
            place = folder / job.name / f"round_{number}"
            one = drill(job, place, whole_run=whole_run, whole=whole, kills=kills, number=number)
            file.write_text(json.dumps(dataclasses.asdict(one), indent=2))
            bad = [*one.half_written, *one.wrong]
            Console().print(f"{number} {job.name}: {', '.join(one.kills)}: {bad or 'right'} {list(one.left) or ''}")
            if not bad:
                shutil.rmtree(place)
        done.append(Round(**{key: _tuples(value) for key, value in json.loads(file.read_text()).items()}))
    note = (
        f"{len(done)} rounds, seed {seed}; a round kills a command once or twice, every other time just before a drawn "
        "change of the file system, else after a drawn time, and starts it once more. Half-written: a file that is not "
        "whole under the name of a result. Right is: status 0, and weights, log, figures, drawn and sharded bytes, "
        "sightings, pictures, vectors, fingerprint equal to those of a run that was not killed."
    )
    report("drill_kill", rows_of(done), Path(arguments.get("output", "benchmarks/results")), note=note)


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
