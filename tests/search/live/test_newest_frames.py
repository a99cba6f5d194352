"""A stream for whoever is too slow: what is dropped, what is counted, and whose clock says when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np
import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.live import newest_frames
from reid_lightning.search.live.clock import Offset, Pauses
from reid_lightning.search.live.newest_frames import NewestFrames, checked_stream
from reid_lightning.search.video.sources import open_source


@dataclass
class Toy:
    """A frame that says its number, and what became of it."""

    number: int
    seconds: float
    passed: list[int]
    bytes: int = 1

    def picture(self) -> np.ndarray:
        return np.full((2, 2, 3), self.number, np.uint8)

    def pass_over(self) -> None:
        self.passed.append(self.number)


class Camera:
    """Sends frames 0.1 s apart; before each of them `between` is called with its number."""

    kind, name, every, frames_per_second, fingerprint, warning = "stream", "cam", 1, 10.0, "abc", "it stopped."

    def __init__(self, count: int, between: Callable[[int], None] = lambda number: None, fault=None) -> None:
        self.count, self.between, self.fault = count, between, fault
        self.passed: list[int] = []
        self.closed = False

    def unconverted(self) -> Iterator[Toy]:
        for number in range(self.count):
            self.between(number)
            yield Toy(number, number / 10, self.passed)
        if self.fault:
            raise self.fault

    def close(self) -> None:
        self.closed = True


def test_whoever_keeps_up_gets_every_frame():
    asked = Event()
    seen, counts = [], []

    def between(number: int) -> None:
        if number > 1:
            assert asked.wait(10)
            asked.clear()

    camera = Camera(40, between)
    with NewestFrames(camera, stop=Event(), on_frame=lambda *both: counts.append(both)) as source:
        for frame in source:
            seen.append((frame.number, int(frame.picture[0, 0, 0]), frame.seconds))
            asked.set()
    assert seen == [(number, number, number / 10) for number in range(40)]
    assert counts[-1] == (40, 0) and camera.passed == [] and camera.closed
    assert source.warning == "it stopped."


def test_for_whoever_falls_behind_the_oldest_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(newest_frames, "WAITING", 3)
    all_sent = Event()
    counts: list[tuple[int, int]] = []

    def count(came: int, dropped: int) -> None:
        counts.append((came, dropped))
        if came == 10:
            all_sent.set()

    taken = Event()

    def between(number: int) -> None:
        assert number != 1 or taken.wait(10)

    camera = Camera(10, between)
    with NewestFrames(camera, stop=Event(), on_frame=count) as source:
        frames = iter(source)
        first = next(frames).number
        taken.set()
        assert all_sent.wait(10)
        assert [first, *(frame.number for frame in frames)] == [0, 7, 8, 9]
    assert camera.passed == [1, 2, 3, 4, 5, 6] and counts[-1] == (10, 6)


def test_large_frames_wait_in_smaller_numbers(monkeypatch):
    monkeypatch.setattr(newest_frames, "WAITING_BYTES", 2)
    taken, done = Event(), Event()
    camera = Camera(9, lambda number: None if number != 1 else taken.wait(10))
    with NewestFrames(camera, stop=Event(), on_frame=lambda came, _: done.set() if came == 9 else None) as source:
        frames = iter(source)
        next(frames)
        taken.set()
        assert done.wait(10)
        assert [frame.number for frame in frames] == [7, 8]


def test_a_stop_ends_it_without_a_warning():
    stop = Event()
    with NewestFrames(Camera(100, lambda number: stop.wait(0.01)), stop=stop) as source:
        frames = iter(source)
        next(frames)
        stop.set()
        assert list(frames) == [] and source.warning is None


def test_an_error_of_the_stream_comes_after_its_frames():
    with NewestFrames(Camera(2, fault=ReIDError("damaged")), stop=Event()) as source:
        frames = iter(source)
        assert [next(frames).number, next(frames).number] == [0, 1]
        with pytest.raises(ReIDError, match="damaged"):
            next(frames)


def test_no_two_openings_have_one_fingerprint(clock):
    sources = [NewestFrames(Camera(1), stop=Event(), clock=clock) for _ in range(20)]
    assert len({source.fingerprint for source in sources}) == 20
    assert all(len(source.fingerprint) == 16 for source in sources)


def test_the_start_is_a_time_of_the_clock_even_if_frames_come_late_and_all_at_once(clock):
    """Three seconds of frames come in one moment: the last one is the newest, and all others are older than it."""
    with NewestFrames(Camera(31), stop=Event(), clock=clock) as source:
        opened = clock.date()
        assert len(list(source)) == 31
    assert source.start == pytest.approx(opened - 3.0)
    clock.seconds += 100
    assert source.start == pytest.approx(opened - 3.0)


def test_a_clock_that_is_set_is_followed(clock, monkeypatch):
    source = NewestFrames(Camera(1), stop=Event(), clock=clock)
    before = source.start
    monkeypatch.setattr(clock, "date", lambda: 1_800_000_000.0 + clock.seconds)
    assert source.start - before == pytest.approx(1_800_000_000.0 - 1_767_254_400.0)


def test_a_camera_whose_clock_is_slow_is_followed():
    offset = Offset(window=60.0)
    for second in range(1000):  # it loses a hundredth, and some frames come half a second late
        offset.see(second + 0.5 * (second % 2), 0.99 * second)
    assert offset.seconds == pytest.approx(0.01 * 1000, abs=1.3)


def test_pauses_grow_to_the_longest_and_begin_again_after_a_success():
    pauses = Pauses(first=1.0, longest=10.0)
    assert [pauses.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    pauses.succeeded()
    assert pauses.next() == 1.0


def test_a_picture_is_no_stream(tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "car.png")
    with (
        open_source(tmp_path / "car.png") as source,
        pytest.raises(ReIDError, match=r"car\.png is a picture; expected"),
    ):
        checked_stream(source)
