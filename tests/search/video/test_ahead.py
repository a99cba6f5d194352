"""Work ahead in another thread: the same items in the same order, errors in their place, and an end of it."""

import threading
import time
from itertools import count, islice

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.video.ahead import Ahead, ClosedError, ahead


def running():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("size", [1, 3])
def test_items_come_in_order_and_never_more_than_wanted_are_ahead(size):
    made, taken, most = 0, 0, 0

    def items():
        nonlocal made, most
        for number in range(40):
            made += 1
            most = max(most, made - taken)
            yield number

    def made_is(number):
        return lambda: made == number

    got = []
    for number in ahead(items(), size=size):
        wait_until(made_is(min(40, taken + 2 + size)))  # it works on without being asked
        got.append(number)
        taken += 1
    assert got == list(range(40))
    assert most <= 2 + size  # those that are ready, the one being made, the one in use
    assert not running()


def test_an_error_comes_once_in_place_of_its_item():
    def items():
        yield from "ab"
        raise ReIDError("the third is damaged.")

    made, got = ahead(items(), size=5), []
    with pytest.raises(ReIDError, match=r"the third is damaged\."):
        for item in made:
            got.append(item)
    assert got == ["a", "b"] and list(made) == [] and not running()


def test_who_stops_early_ends_the_thread_and_closes_what_it_reads_there():
    closed_in = []

    def items():
        try:
            yield from count()
        finally:
            closed_in.append(threading.current_thread().name)

    made = ahead(items(), size=2)
    assert list(islice(made, 3)) == [0, 1, 2]
    made.close()
    assert closed_in == ["ahead"] and not running()


def test_a_thread_that_gives_nothing_is_ended_by_whoever_waits_for_it_no_longer():
    read = []

    def nothing():
        with_frames = ahead(count(), size=2)
        for number in with_frames:
            read.append(number)
        yield

    made = Ahead(nothing(), size=1)

    def wait():
        with pytest.raises(ClosedError):
            next(made)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: len(read) > 10)
    made.close()
    waiting.join()
    assert not running()
    with pytest.raises(ClosedError):
        next(made)


def test_nothing_begins_before_it_is_asked_for():
    made = ahead(iter(lambda: pytest.fail("nobody has asked"), None), size=3)
    assert not running()
    made.close()
