"""What the drills start from, made once; and a server of processes that has imported the commands."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from benchmarks.drills.commands import IMPORTS, run
from benchmarks.drills.jobs import Job, jobs_of, prepare

multiprocessing.set_forkserver_preload([*IMPORTS, "benchmarks.drills.jobs"])  # before any test starts the server


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny fleet, a model trained for an epoch, a clip and a gallery of it."""
    folder = tmp_path_factory.mktemp("drills") / "prepared"
    prepare(folder)
    return folder


@pytest.fixture(scope="session")
def jobs(prepared: Path) -> dict[str, Job]:
    return jobs_of(prepared)


@pytest.fixture(scope="session")
def whole(jobs: dict[str, Job], tmp_path_factory: pytest.TempPathFactory):
    """The folder of an undisturbed run of a job, and how it ended."""
    done = {}

    def undisturbed(name: str):
        if name not in done:
            folder = tmp_path_factory.mktemp(name) / "whole"
            done[name] = folder, run(jobs[name].command, folder)
            assert done[name][1].status == 0, done[name][1].output
        return done[name]

    return undisturbed
