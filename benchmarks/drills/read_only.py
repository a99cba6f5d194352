"""Claim: a folder that cannot be written ends a command at once, with one message that names it, and changes nothing.

python benchmarks/drills/read_only.py [folder=<the system's temporary one>/read_only_drill] [output=benchmarks/results]
The commands run without the rights of root, if it is root who starts them, in a folder whose mode is r-x; once in an
empty one, and once where an earlier run has left its results, which must stay as they are.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import Case, Running, failed_clearly, rows_of_cases, run, said_by
from benchmarks.drills.jobs import Job, digests, jobs_of, prepare
from benchmarks.drills.limits import ordinary_rights

_WORDS = ("Permission denied", "may write to", "cannot be written")


def drill(job: Job, folder: Path, *, results_of: Path | None = None) -> Case:
    """Run the job in a folder that cannot be written: an empty one, or a copy of a finished run's `results_of`."""
    if results_of is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(results_of, folder)
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    before = digests(folder)
    for place in places:
        place.chmod(0o555)
    try:
        running = Running(job.command, folder, before=ordinary_rights)
        ended = running.end()
    finally:
        for place in places:
            place.chmod(0o755)
    done = results_of is not None and (ended.status == 0 or (job.says_done or "\0") in ended.output)
    wrong = [] if done else failed_clearly(ended, *_WORDS)
    if digests(folder) != before:
        wrong.append("something was written")
    if left := running.left_alone():
        wrong.append(f"{len(left)} processes went on alone")
    name = f"{job.name}, {'empty' if results_of is None else 'with results'}"
    return Case(name, ended.status, ended.seconds, said_by(ended), tuple(wrong))


def main() -> None:
    """All jobs, and one table."""
    arguments = OmegaConf.from_cli()
    cases = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.get("folder", Path(temporary) / "read_only_drill")).absolute()
        prepare(folder / "prepared")
        for job in jobs_of(folder / "prepared").values():
            run(job.command, folder / job.name / "whole")
            cases.append(drill(job, folder / job.name / "empty"))
            cases.append(drill(job, folder / job.name / "results", results_of=folder / job.name / "whole"))
    note = "A folder of mode r-x, without the rights of root. What is done already may end with status 0."
    report("drill_read_only", rows_of_cases(cases), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
