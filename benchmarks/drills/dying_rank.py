"""Claim: when one process of a distributed training dies, the others end soon and say why; none hangs.

python benchmarks/drills/dying_rank.py [folder=<the system's temporary one>/rank_drill] [output=benchmarks/results]
Two processes on the CPU (gloo), once started as torchrun does on two machines, once by the trainer itself
(trainer=ddp_cpu); each of the two gets SIGKILL in turn, in the middle of an epoch.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import Case, Command, Running, failed_clearly, rows_of_cases, said_by
from benchmarks.drills.dying_worker import wait_for_steps
from benchmarks.drills.jobs import half_written, jobs_of

LIMIT = 120.0  # seconds, until the process that is left counts as hanging
EPOCHS = 200  # so many that it is not done before


def drill(prepared: Path, folder: Path, *, killed: int, steps: int = 2) -> list[Case]:
    """Two processes as on two machines; rank `killed` dies, and the other one is judged."""
    run_dir = folder / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "drill"}
    ranks = []
    for rank in (0, 1):
        place = {"RANK": f"{rank}", "GROUP_RANK": f"{rank}", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        arguments = (*_arguments(prepared, run_dir), "trainer.num_nodes=2", "trainer.devices=1")
        ranks.append(Running(Command("train.py", arguments, {**shared, **place}), folder / f"rank_{rank}"))
    wait_for_steps(ranks[0], run_dir / "logs/metrics.csv", steps)
    os.kill(ranks[killed].pid, signal.SIGKILL)
    ranks[killed].end()
    survivor = 1 - killed
    ended = ranks[survivor].end(limit=LIMIT)
    wrong = failed_clearly(ended, "another process of this run has ended")
    wrong += [f"half-written: {line}" for line in half_written(run_dir)]
    if any(rank.left_alone() for rank in ranks):
        wrong.append("processes went on alone")
    return [Case(f"two machines, rank {killed} dies", ended.status, ended.seconds, said_by(ended), tuple(wrong))]


def drill_own_processes(prepared: Path, folder: Path, *, killed: int, steps: int = 2) -> list[Case]:
    """Two processes that the trainer has started itself. Lightning ends the first one by SIGKILL when the second has
    ended, so only that nobody hangs and that something says why is asked for."""
    run_dir = folder / "run"
    running = Running(Command("train.py", (*_arguments(prepared, run_dir), "trainer.devices=2")), folder / "ranks")
    wait_for_steps(running, run_dir / "logs/metrics.csv", steps)
    others = running.others()
    os.kill(running.pid if killed == 0 else min(others), signal.SIGKILL)
    ended = running.end(limit=LIMIT)
    wrong = [] if not (left := running.left_alone(limit=LIMIT)) else [f"{len(left)} processes went on alone"]
    said = said_by(replace(ended, output=running.words()))  # with what was said later, by the one that was left
    if "another process of this run has ended" not in said:
        wrong.append(f"nothing says why: {running.words()[-400:]}")
    if "Traceback" in running.words():
        wrong.append("it shows a traceback")
    return [Case(f"trainer=ddp_cpu, rank {killed} dies", ended.status, ended.seconds, said, tuple(wrong))]


def _arguments(prepared: Path, run_dir: Path) -> tuple[str, ...]:
    given = jobs_of(prepared)["training"].command.arguments
    kept = [one for one in given if not one.startswith(("trainer=", "trainer.max_epochs", "resume=", "hydra.run.dir"))]
    return (*kept, "trainer=ddp_cpu", f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={run_dir}")


def main() -> None:
    """Kill each rank in each way and write one table."""
    from benchmarks.drills.jobs import prepare

    arguments = OmegaConf.from_cli()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "rank_drill")).absolute()
        prepare(folder / "prepared")
        cases = []
        for killed in (0, 1):
            cases += drill(folder / "prepared", folder / f"machines_{killed}", killed=killed)
            cases += drill_own_processes(folder / "prepared", folder / f"own_{killed}", killed=killed)
    note = "Seconds from the start of the command to the end of the process that was left."
    report("drill_dying_rank", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
