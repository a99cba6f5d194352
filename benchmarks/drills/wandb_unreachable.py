"""Claim: a W&B server that dies in the middle of a training does not touch it: the run ends with its result, and what
was logged stays on the disk.

python benchmarks/drills/wandb_unreachable.py [folder=<the system's temporary one>/wandb_drill]
                                              [output=benchmarks/results]
The server is one of our own on the loopback, which answers as much as a run needs; it dies after the first checkpoint.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import PATIENCE, Case, Command, Running, rows_of_cases, run
from benchmarks.drills.jobs import jobs_of, prepare
from benchmarks.drills.wandb_server import WandbServer

KEY = "0123456789" * 4
_SETTINGS = ("logger=wandb", "logger.wandb.init_timeout=60", "logger.wandb.finish_timeout=5")


def drill(prepared: Path, folder: Path) -> Case:
    """Train with W&B, cut the server off at the first checkpoint, compare with a run that logs to no server."""
    job = jobs_of(prepared)["training"]
    server = WandbServer()
    home = folder / "home"
    home.mkdir(parents=True)
    environment = {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": KEY, "HOME": str(home), "WANDB_MODE": ""}
    command = Command(job.command.script, (*job.command.arguments, *_SETTINGS), environment)
    running = Running(command, folder / "run")
    deadline = time.monotonic() + PATIENCE
    while running.alive and time.monotonic() < deadline and not (folder / "run/run/checkpoints/last.ckpt").exists():
        time.sleep(0.002)
    server.die()
    ended = running.end()
    offline = replace(command, environment={**environment, "WANDB_MODE": "disabled"})
    whole = run(offline, folder / "whole")
    wrong = [f"{name} ended with {one.status}" for name, one in (("it", ended), ("whole", whole)) if one.status != 0]
    if "UpsertBucket" not in server.seen:
        wrong.append(f"the run never reached the server: {dict(server.seen)}")
    kept = [path for path in (folder / "run/run/wandb").glob("run-*/*.wandb") if path.stat().st_size > 0]
    if len(kept) != 1:
        wrong.append("nothing of the log is left on the disk")
    if "wandb sync" not in ended.output:
        wrong.append("nothing says that the log was not sent, and how to send it")
    if "Traceback" in ended.output:
        wrong.append("it shows a traceback")
    if not wrong:
        metrics = [(folder / name / "run/metrics.json").read_bytes() for name in ("run", "whole")]
        wrong += [] if metrics[0] == metrics[1] else ["metrics.json differs"]
    if left := running.left_alone():
        wrong.append(f"{len(left)} processes went on alone")
    said = " ".join(line for line in ended.output.splitlines() if "W&B cannot" in line or "wandb sync" in line)
    return Case("the server dies", ended.status, ended.seconds, said, tuple(wrong))


def main() -> None:
    """Do it once and write the table."""
    arguments = OmegaConf.from_cli()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "wandb_drill")).absolute()
        prepare(folder / "prepared")
        cases = [drill(folder / "prepared", folder / "drill")]
    note = "Right is: status 0, the result of an undisturbed run, the log on the disk and a word on how to send it."
    report(
        "drill_wandb_unreachable", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note
    )


if __name__ == "__main__":
    main()
