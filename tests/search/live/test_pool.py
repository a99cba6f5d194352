"""Processes that die are started again with growing pauses, their counts add up, and all of them end when asked."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from multiprocessing.connection import Connection

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.cameras import Camera
from reid_lightning.search.live.pool import Pool, shared_out, works_of
from reid_lightning.search.live.status import CameraStatus
from reid_lightning.search.live.worker import Report, Work

CAMERAS = tuple(Camera(name, f"rtsp://{name}/1") for name in "abcde")


class Process:
    """Nothing runs in it; `theirs` is what it would speak through."""

    exitcode, alive = -9, True

    def __init__(self, theirs: Connection) -> None:
        self.theirs = theirs

    def join(self) -> None: ...

    def is_alive(self) -> bool:
        return self.alive

    def kill(self) -> None:
        self.die()

    def die(self) -> None:
        self.theirs.close()
        self.alive = False


@pytest.fixture
def pool_of(clock):
    def make(processes, cameras=CAMERAS):
        started: list[Process] = []

        def start(work):
            ours, theirs = multiprocessing.Pipe()
            started.append(Process(theirs))
            return started[-1], ours

        work = Work(0, 1, cameras, build=lambda: None)
        pool = Pool(works_of(work, cameras, processes), clock=clock, start=start)
        pool.begin()
        return pool, started

    return make


@pytest.mark.parametrize(
    ("processes", "shares"), [(1, ["abcde"]), (2, ["ace", "bd"]), (5, list("abcde")), (99, list("abcde"))]
)
def test_cameras_are_shared_out_and_no_process_is_without(processes, shares):
    assert ["".join(one.name for one in share) for share in shared_out(CAMERAS, processes)] == shares


def test_what_the_processes_say_is_known(pool_of):
    pool, (first, second) = pool_of(2)
    first.theirs.send(Report((CameraStatus("a", "watching", frames=7),)))
    second.theirs.send(Report((CameraStatus("b", "pausing", error="away"),)))
    pool.look(0)
    known = {one.name: one for one in pool.statuses}
    assert known["a"].frames == 7 and known["b"].error == "away"


def test_one_that_dies_is_started_again_with_growing_pauses_and_counts_go_on(pool_of, clock):
    pool, started = pool_of(1, CAMERAS[:1])
    starts = [clock.now()]
    for _ in range(4):
        started[-1].theirs.send(Report((CameraStatus("a", "watching", frames=10, hits=1, last_frame=5.0),)))
        started[-1].die()
        known = len(started)
        while len(started) == known:
            pool.look(0)
            clock.seconds += 0.25
        starts.append(clock.now())
    assert [round(later - earlier) for earlier, later in pairwise(starts)] == [1, 2, 4, 8]
    started[-1].theirs.send(Report((CameraStatus("a", "watching", frames=3),)))
    pool.look(0)
    (status,) = pool.statuses
    assert (status.frames, status.hits, status.last_frame, pool.restarts) == (43, 4, 5.0, 4)


def test_why_it_died_is_said(pool_of):
    pool, (first,) = pool_of(1)
    first.die()
    pool.look(0)
    assert {one.state for one in pool.statuses} == {"pausing"}
    assert pool.statuses[0].error == "the process of 5 cameras died (signal 9)"


def test_one_that_cannot_begin_is_an_error_and_one_that_cannot_begin_again_is_not(pool_of, clock):
    pool, started = pool_of(1)
    started[0].theirs.send(Report(failed="no such detector"))
    with pytest.raises(ReIDError, match=r"^no such detector$"):
        pool.look(0)
    pool, started = pool_of(1)
    started[0].theirs.send(Report((CameraStatus("a"),)))
    started[0].die()
    pool.look(0)
    clock.seconds += 2
    pool.look(0)
    started[1].theirs.send(Report(failed="the store is away"))
    started[1].die()
    pool.look(0)
    clock.seconds += 5
    pool.look(0)
    assert len(started) == 3 and not pool.has_ended


def test_one_that_never_begins_is_an_error(pool_of, clock):
    pool, started = pool_of(1)
    with pytest.raises(ReIDError, match=r"the process of 5 cameras dies as it begins \(signal 9\)"):
        while len(started) < 10:
            started[-1].die()
            pool.look(0)
            clock.seconds += 100
    assert len(started) == 3


def test_all_end_when_asked_and_none_is_started_again(pool_of, clock):
    pool, started = pool_of(2)
    pool.stop()
    for one in started:
        assert one.theirs.recv() == "stop"
        one.theirs.send(Report(ended=True))
    pool.look(0)
    assert not pool.has_ended  # they still live
    for one in started:
        one.die()
    pool.look(0)
    clock.seconds += 100
    pool.look(0)
    assert pool.has_ended and len(started) == 2


def test_recordings_that_have_ended_end_the_pool(pool_of):
    pool, (first,) = pool_of(1)
    first.theirs.send(Report((CameraStatus("a", "done"),), ended=True))
    first.die()
    pool.look(0)
    assert pool.has_ended


def test_one_that_is_waiting_to_be_started_again_ends_at_a_stop(pool_of, clock):
    pool, (first,) = pool_of(1)
    first.die()
    pool.look(0)
    pool.stop()
    clock.seconds += 10
    pool.look(0)
    assert pool.has_ended


def test_kill_ends_whoever_still_lives(pool_of):
    pool, started = pool_of(3)
    pool.kill()
    assert not any(one.alive for one in started) and pool.has_ended
