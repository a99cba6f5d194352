"""Claim: whatever happens to `reid embed`, the same command again ends with the bytes of an undisturbed run.

python benchmarks/drills/embedding.py [kills=6] [shares=[0.1,0.6]] [ray=true] [seed=0] [output=benchmarks/results]
A part that runs twice, one after the other and at the same time; kill -9 before drawn changes of the file system and
after drawn times; a disk without room in the middle (root mounts a small one, else files have a limit); and a worker of
Ray that gets SIGKILL (needs the extra `ray`).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import report
from benchmarks.drills import full_disk, kill
from benchmarks.drills.commands import PATIENCE, Case, Command, Ended, Running, rows_of_cases, run, said_by
from benchmarks.drills.jobs import Job, differing_files, half_written
from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel

PICTURES, PER_FILE = 48, 4
_RAY_PATIENCE = 400.0  # seconds, of a cluster that starts on a busy machine


def prepare(folder: Path) -> Job:
    """A bundle and pictures in `folder`, and the command that embeds them."""
    torch.manual_seed(0)
    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
    save_bundle(folder / "bundle", model, Preprocessing(32, 32), metrics={}, data={})
    (folder / "crops").mkdir()
    chance = random.Random(0)
    for number in range(PICTURES):
        colour = tuple(chance.randrange(256) for _ in range(3))
        Image.new("RGB", (24, 24), colour).save(folder / f"crops/{number:03d}.png")
    given = (f"bundle={folder}/bundle", f"source={folder}/crops", "output=out", f"pictures_per_file={PER_FILE}")
    return Job("embedding", Command("reid", ("embed", *given, "backend=torch", "device=cpu")), differing_files)


def twice(job: Job, folder: Path, whole: Path, *, at_once: bool) -> Case:
    """The same command in the same folder, which both share."""
    folder.mkdir(parents=True)
    outputs = [folder.with_name(f"{folder.name}_{number}.output") for number in range(2)]
    if at_once:
        both = [Running(job.command, folder, output=output) for output in outputs]
        ended = [one.end() for one in both]
    else:
        ended = [Running(job.command, folder, output=output).end() for output in outputs]
    wrong = [f"a command ended with {one.status}: {said_by(one)}" for one in ended if one.status != 0]
    wrong += job.differences(folder, whole) + [f"half-written: {line}" for line in half_written(folder)]
    name = "a part twice, at the same time" if at_once else "a part twice"
    return Case(name, ended[-1].status, ended[-1].seconds, said_by(ended[-1]), tuple(wrong))


def killed(job: Job, folder: Path, whole: Path, whole_run: Ended, *, number: int, seed: int) -> Case:
    """Once or twice, then given again."""
    generator = random.Random(f"{seed} {number} embed")
    kills = [kill.drawn_kill(generator, whole_run) for _ in range(generator.choice((1, 2)))]
    began = time.monotonic()
    one = kill.drill(job, folder, whole_run=whole_run, whole=whole, kills=kills, number=number)
    name = f"killed ({', '.join(one.kills)}) and given again"
    return Case(name, 0, time.monotonic() - began, "", (*one.half_written, *one.wrong))


def killed_ray_worker(job: Job, folder: Path, whole: Path) -> Case:
    """Ray's process that embeds, after the second file."""
    command = Command(job.command.script, (*job.command.arguments, "ray=local", "ray_workers=1"))
    running = Running(command, folder)
    deadline, victims = time.monotonic() + _RAY_PATIENCE, list[int]()
    while running.alive and time.monotonic() < deadline:
        if len(list(folder.glob("out/*/*.safetensors"))) >= 2 and (victims := ray_workers(running.pid)):
            break
        time.sleep(0.01)
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ended = running.end(limit=max(PATIENCE, _RAY_PATIENCE))
    wrong = [] if victims else ["no worker was there to be killed"]
    if ended.status != 0:
        wrong.append(f"it ended with {ended.status}: {said_by(ended) or ended.output[-400:]}")
    wrong += job.differences(folder, whole) + [f"half-written: {line}" for line in half_written(folder)]
    return Case(f"{len(victims)} worker of Ray killed", ended.status, ended.seconds, said_by(ended), tuple(wrong))


def ray_workers(ancestor: int) -> list[int]:
    """Ray's processes that embed, among those that descend from one."""
    parents, workers = dict[int, int](), list[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    workers.append(int(entry.name))

    def descends(pid: int) -> bool:
        return pid == ancestor or (pid in parents and parents[pid] != pid and descends(parents[pid]))

    return [pid for pid in workers if descends(pid)]


def drill(folder: Path, *, kills: int, shares: list[float], with_ray: bool, seed: int = 0) -> list[Case]:
    """All of it in `folder`, which is new."""
    folder.mkdir(parents=True)
    (folder / "prepared").mkdir()
    job, whole = prepare(folder / "prepared"), folder / "whole"
    whole_run = run(job.command, whole)
    if whole_run.status != 0:
        raise RuntimeError(f"the undisturbed run ended with {whole_run.status}: {whole_run.output}")
    cases = [twice(job, folder / f"twice_{at_once}", whole, at_once=at_once) for at_once in (False, True)]
    cases += [
        killed(job, folder / f"killed_{number}", whole, whole_run, number=number, seed=seed) for number in range(kills)
    ]
    disk = full_disk.drill_on_full_disk if full_disk.can_mount(folder) else full_disk.drill
    cases += [disk(job, folder / f"disk_{share}", whole=whole, share=share) for share in shares]
    if with_ray:
        cases.append(killed_ray_worker(job, folder / "ray", whole))
    return cases


def main() -> None:
    """All cases and one table."""
    arguments = OmegaConf.from_cli()
    kills, shares, seed = arguments.get("kills", 6), list(arguments.get("shares", [0.1, 0.6])), arguments.get("seed", 0)
    with_ray = arguments.get("ray", True) and find_spec("ray") is not None
    with tempfile.TemporaryDirectory() as temporary:
        cases = drill(Path(temporary) / "embedding", kills=kills, shares=shares, with_ray=with_ray, seed=seed)
    note = (
        f"{PICTURES} pictures, {PER_FILE} a file, seed {seed}. Right is: every file equal to the byte to those of a "
        "run that nothing disturbed, after the same command was given again (Ray: at once); on a full disk status 1 "
        f"and one message, too.{'' if with_ray else ' Ray was not installed.'}"
    )
    report("drill_embedding", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
