"""Claim: a disk that is full ends a command with one clear message, nothing half-written, and the same command ends
right when there is room.

python benchmarks/drills/full_disk.py [shares=[0.02,0.3,0.6,0.95]] [folder=<the system's temporary one>/disk_drill]
                                      [output=benchmarks/results]
As root on Linux each command runs on a file system in memory that has room for a share of what it writes. Without
those rights no file may grow beyond a share of the largest one that it writes, which fails as a full disk does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import Case, Running, failed_clearly, rows_of_cases, run, said_by
from benchmarks.drills.jobs import Job, half_written, jobs_of, prepare
from benchmarks.drills.limits import no_larger_files

LEAST = 4096  # bytes of a file that are always allowed: what the command prints is one as well
ROOM = 1 << 20  # for the folders and the journal-less bookkeeping of a file system in memory
_WORDS = ("space", "File too large", "MB free", "file too large")


def drill(job: Job, folder: Path, *, whole: Path, share: float) -> Case:
    """No file may grow beyond `share` of the largest one that the uninterrupted run in `whole` has written."""
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    limit = max(LEAST, int(share * largest))
    return _judge(job, folder, whole, before=partial(no_larger_files, limit), name=f"files up to {limit:,} bytes")


def drill_on_full_disk(job: Job, folder: Path, *, whole: Path, share: float) -> Case:
    """The same on a small file system in memory."""
    written = sum(path.stat().st_blocks * 512 for path in whole.rglob("*"))
    size = max(64 << 10, int(share * written))
    with small_disk(folder / "disk", size) as enlarge:
        return _judge(job, folder / "disk/run", whole, before=None, name=f"{size >> 10:,} KiB", enlarge=enlarge)


def _judge(
    job: Job,
    folder: Path,
    whole: Path,
    *,
    before: Callable[[], object] | None,
    name: str,
    enlarge: Callable[[], object] | None = None,
) -> Case:
    output = folder.parent.parent / f"{job.name}_{os.getpid()}.output" if enlarge is not None else None
    running = Running(job.command, folder, before=before, output=output)
    ended = running.end()
    wrong = job.differences(folder, whole) if ended.status == 0 else failed_clearly(ended, *_WORDS)  # 0: it had room
    wrong += [f"half-written: {line}" for line in half_written(folder)]
    if left := running.left_alone():
        wrong.append(f"{len(left)} processes went on alone")
    if enlarge is not None:
        enlarge()
    again = Running(job.command, folder, output=output).end()
    if again.status != 0 and not (job.says_done and job.says_done in again.output):
        wrong.append(f"with room, the same command ended with {again.status}: {said_by(again) or again.output[-400:]}")
    else:
        wrong += [f"with room: {line}" for line in job.differences(folder, whole)]
    return Case(f"{job.name}, {name}", ended.status, ended.seconds, said_by(ended), tuple(wrong))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], object]]:
    """A file system of so many bytes at `folder`; gives what makes it large. CalledProcessError: no right to mount."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield lambda: _mount("-o", f"remount,size={1 << 30}", str(folder))
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may."""
    try:
        with small_disk(folder / "probe", ROOM):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def main() -> None:
    """All jobs at all shares, and one table."""
    arguments = OmegaConf.from_cli()
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "disk_drill")).absolute()
        prepare(folder / "prepared")
        attempts = [drill, drill_on_full_disk] if can_mount(folder) else [drill]
        for job in jobs_of(folder / "prepared").values():
            whole = folder / job.name / "whole"
            run(job.command, whole)
            for attempt in attempts:
                for share in arguments.get("shares", [0.02, 0.3, 0.6, 0.95]):
                    place = folder / job.name / f"{attempt.__name__}_{share}"
                    cases.append(attempt(job, place, whole=whole, share=share))
    note = (
        "First with a limit on the size of each file, then on a file system in memory of that size; then once more "
        "with room. Right is: status 1 (or 0 and the whole result, where it had room enough), one message without a "
        "traceback, nothing half-written under the name of a result, and with room the result of a run that was never "
        "disturbed."
    )
    report("drill_full_disk", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
