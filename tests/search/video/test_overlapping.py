"""Decoding, detecting, reading plates and saving at the same time: what comes of it is what came one by one."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from toy_clips import BrightBoxes, KnowsRed, build_tracker, car_and_truck, scene, write_clip

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.plates import NoPlateReader
from reid_lightning.search.registration import Registrar
from reid_lightning.search.video import track_source, vehicle_finder, video_source
from reid_lightning.search.video.detectors.motion import MotionDetector
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.track_source import follow
from reid_lightning.search.video.vehicle_finder import VehicleFinder


class SideBySide(BrightBoxes):
    """As it is, in three threads; remembers which pictures it saw."""

    side_by_side = 3

    def __init__(self):
        super().__init__()
        self.seen, self.threads = [], set()

    def detect(self, picture):
        self.seen.append(picture)
        self.threads.add(threading.current_thread().name)
        return super().detect(picture)


@pytest.fixture
def clip(tmp_path):
    return car_and_truck(tmp_path / "clip.mp4")


@pytest.fixture
def serially(monkeypatch):
    """Call it, and everything is done in this thread."""

    class Serial:
        def __init__(self, items, *, size):
            self._items = iter(items)

        def __iter__(self):
            return self._items

        def close(self):
            self._items.close()

    def serial(items, *, size):
        yield from items

    def switch():
        monkeypatch.setattr(track_source, "ahead", serial)
        monkeypatch.setattr(vehicle_finder, "ahead", serial)
        monkeypatch.setattr(video_source, "Ahead", Serial)

    return switch


def registrar(root, detector, reader=None):
    return Registrar(Gallery(root), VehicleFinder(detector, reader or KnowsRed(), build_tracker=build_tracker))


def register(clip, root, detector, reader=None):
    with open_source(clip) as source:
        return list(registrar(root, detector, reader).register(source, camera="north", start=0.0))


def files(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.suffix in (".jpg", ".json") and not str(path.relative_to(root)).startswith(".")
    }


def threads():
    return [one.name for one in threading.enumerate() if one.name.startswith(("ahead", "detect"))]


@pytest.mark.parametrize("make", [BrightBoxes, SideBySide, MotionDetector])
def test_a_gallery_is_the_same_to_the_last_byte(tmp_path, clip, serially, make):
    register(clip, tmp_path / "overlapping", make())
    assert not threads()
    serially()
    detector = BrightBoxes() if make is SideBySide else make()
    assert register(clip, tmp_path / "serial", detector)
    assert files(tmp_path / "overlapping") == files(tmp_path / "serial")


def test_every_step_is_the_same(clip, serially):
    def steps(detector):
        with open_source(clip) as source:
            return [
                (
                    step.frame.number,
                    step.frame.seconds,
                    step.ended,
                    [(one.track, one.box.tolist()) for one in step.boxes],
                )
                for step in follow(source, detector, build_tracker)
            ]

    detector = SideBySide()
    side_by_side = steps(detector)
    assert len(side_by_side) == 55 and all(name.startswith("detect") for name in detector.threads)
    serially()
    assert side_by_side == steps(BrightBoxes())


def test_equal_frames_are_looked_at_once(tmp_path):
    one, other = scene(red=(5, 5)), scene(red=(50, 30))
    clip = write_clip(tmp_path / "clip.mp4", [one] * 6 + [other] * 6)
    with open_source(clip) as source:
        frames = [frame.picture for frame in source]
    distinct = 1 + sum(not np.array_equal(*pair) for pair in pairwise(frames))
    assert distinct < len(frames)
    detector = SideBySide()
    with open_source(clip) as source:
        assert len(list(follow(source, detector, build_tracker))) == 12
    assert len(detector.seen) == distinct


class Fails:
    """At the so-many-th call, whatever is done."""

    def fails_at(self, call, error):
        self.calls, self.last, self.error = 0, call, error
        return self

    def count(self):
        self.calls += 1
        if self.calls == self.last:
            raise self.error


class FailingDetector(Fails, BrightBoxes):
    def detect(self, picture):
        self.count()
        return super().detect(picture)


class FailingReader(Fails, NoPlateReader):
    def read(self, picture):
        self.count()
        return []


@pytest.mark.parametrize("side_by_side", [1, 2])
@pytest.mark.parametrize("error", [ReIDError("it is damaged."), MemoryError()])
def test_an_error_of_the_detector_is_the_one_that_comes(tmp_path, error, side_by_side):
    frames = [scene(red=(3 * n, 10) if n < 30 else None, blue=(80 - n, 70)) for n in range(55)]
    clip = write_clip(tmp_path / "moving.mp4", frames)
    detector = FailingDetector().fails_at(50, error)
    detector.side_by_side = side_by_side
    with pytest.raises(type(error)) as raised:
        register(clip, tmp_path / "gallery", detector)
    assert raised.value is error and not threads()
    (car,) = Gallery(tmp_path / "gallery").sightings()  # it had ended before
    assert car.track == 1
    assert len(register(clip, tmp_path / "gallery", BrightBoxes())) == 2


def test_an_error_of_the_plate_reader_is_the_one_that_comes(tmp_path, clip):
    error = ReIDError("it cannot read.")
    with pytest.raises(ReIDError) as raised:
        register(clip, tmp_path / "gallery", BrightBoxes(), FailingReader().fails_at(2, error))
    assert raised.value is error and not threads()
    assert files(tmp_path / "gallery") == {}


def test_an_error_of_the_decoder_comes_after_the_frames_before_it(clip, monkeypatch):
    picture, shown = video_source.VideoDisplay.picture, []

    def damaged(self, frame):
        shown.append(frame)
        if len(shown) == 30:
            raise ReIDError("no colours.")
        return picture(self, frame)

    monkeypatch.setattr(video_source.VideoDisplay, "picture", damaged)
    numbers = []
    with open_source(clip) as source, pytest.raises(ReIDError, match=r"no colours\."):
        for frame in source:
            numbers.append(frame.number)
    assert numbers == list(range(29)) and not threads()


@pytest.mark.parametrize("where", ["while it is saved", "at a step"])
def test_ctrl_c_ends_all_threads_and_leaves_nothing_half_written(tmp_path, clip, monkeypatch, where):
    saving = registrar(tmp_path / "gallery", SideBySide())

    def on_step(step):
        if where == "at a step" and step.frame.number == 20:
            raise KeyboardInterrupt

    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, open_source(clip) as source:
        if where == "while it is saved":
            patched.setattr(saving.gallery, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(saving.register(source, camera="north", on_step=on_step))
        assert not threads()  # before the source is closed
    assert files(tmp_path / "gallery") == {}
    assert len(register(clip, tmp_path / "gallery", BrightBoxes())) == 2


def test_a_source_that_is_closed_ends_who_reads_it(clip):
    source = open_source(clip)
    frames = iter(source)
    next(frames)
    source.close()
    assert not threads()
    with pytest.raises(ReIDError, match="closed"):
        next(frames)


def test_frames_of_a_large_video_are_fewer_ahead(clip, monkeypatch):
    with open_source(clip) as source:
        assert source.ahead == 8
    monkeypatch.setattr(video_source, "_AHEAD_BYTES", 3 * 160 * 120 * 2)
    with open_source(clip) as source:
        assert source.ahead == 2
    monkeypatch.setattr(video_source, "_AHEAD_BYTES", 1)
    detector = SideBySide()
    with open_source(clip) as source:
        assert source.ahead == 1
        assert len(list(follow(source, detector, build_tracker))) == 55
    assert detector.threads == {"ahead"}  # and none of them looked at beside another one
