"""One camera: opened again with growing pauses, its tracks saved when it breaks or is stopped, recordings done once."""

from __future__ import annotations

from threading import Event, Lock

import pytest
from toy_clips import BrightBoxes, KnowsRed, build_tracker, car_and_truck, scene, write_clip
from toy_streams import ToyStream, red_car

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.live.camera_loop import CameraLoop
from reid_lightning.search.live.cameras import Camera, WatchList
from reid_lightning.search.live.checked_registrar import CheckedRegistrar
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.watching import Checker, Watched
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

PLATE = WatchList("stolen", ("AB12CDE",))


@pytest.fixture
def gallery(tmp_path):
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", ["webhook"], most=100)


@pytest.fixture
def loop_of(gallery, spool, clock):
    def make(open_, *, stop=None, lists=(PLATE,), name="gate"):
        finder = VehicleFinder(BrightBoxes(), KnowsRed(), build_tracker=build_tracker, crops=2)
        checker = Checker(Watched(lists, gallery, None), spool)
        registrar = CheckedRegistrar(gallery, finder, checker=checker, saving=Lock())
        loop = CameraLoop(Camera(name, "rtsp://toy/1"), open_, registrar, stop=stop or Event(), clock=clock)
        registrar.on_hits = lambda hits, dropped: loop.counted(hits=len(hits), dropped=dropped)
        return loop

    return make


def scripted(*steps, stop):
    """Opens what comes next, an error or a source; stops after the last."""
    left = list(steps)

    def open_():
        step = left.pop(0)
        if not left:
            stop.set()
        if isinstance(step, Exception):
            raise step
        return step

    return open_


def test_a_camera_that_does_not_answer_is_asked_again_with_growing_pauses(loop_of, clock):
    stop, away = Event(), ReIDError("rtsp://toy/1 cannot be opened within 10 s: nothing came in time.")
    loop = loop_of(scripted(*[away] * 9, stop=stop), stop=stop)
    loop.run()
    assert clock.waited == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (loop.status.state, loop.status.connections) == ("stopped", 0)
    assert loop.status.error.startswith("rtsp://toy/1 cannot be opened")


def test_pauses_begin_again_after_a_connection_that_lasted(loop_of, clock):
    stop, away = Event(), ReIDError("away")

    class Lasts(ToyStream):
        def unconverted(self):
            yield from super().unconverted()
            clock.seconds += 60

    steps = (away, away, Lasts([scene()]), away, ToyStream([scene()]), away, away)
    loop = loop_of(scripted(*steps, stop=stop), stop=stop)
    loop.run()
    assert clock.waited == [1, 2, 1, 2, 4, 8]  # the second one was over at once
    assert (loop.status.connections, loop.status.frames) == (2, 2)


def test_a_picture_where_a_stream_should_be_is_said(loop_of, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "car.png")
    stop = Event()
    loop = loop_of(scripted(open_source(tmp_path / "car.png"), ReIDError("x"), stop=stop), stop=stop)
    seen = []
    loop.changed = seen.append
    loop.run()
    assert "car.png is a picture; expected a camera's stream or a video." in {status.error for status in seen}


def test_what_is_seen_when_a_stream_breaks_is_saved_and_two_connections_double_nothing(loop_of, gallery, spool, clock):
    stop = Event()
    sources = [ToyStream(red_car(after=0)), ToyStream(red_car()), ReIDError("away")]
    before = clock.date()
    loop = loop_of(scripted(*sources, stop=stop), stop=stop)
    loop.run()
    sightings = sorted(gallery.sightings(), key=lambda one: one.start)
    assert (
        len(sightings) == 2 and len({one.id for one in sightings}) == 2 and len({one.source for one in sightings}) == 2
    )
    assert all(one.vehicle == "AB12CDE" and one.camera == "gate" for one in sightings)
    assert all(before - 10 < one.start < one.end < before + 10 for one in sightings)  # times of the clock
    assert (loop.status.vehicles, loop.status.known, loop.status.hits) == (2, 0, 2)
    assert len(spool.waiting("webhook")) == 2 and spool.begun() == []
    assert all(source.closed for source in sources[:2])


def test_a_stop_saves_what_is_seen(loop_of, gallery):
    stop = Event()

    class Stopped(ToyStream):
        def unconverted(self):
            for waiting in super().unconverted():
                if waiting.number == 15:
                    while not looked.is_set():
                        looked.wait(0.01)
                    stop.set()
                yield waiting

    looked = Event()
    loop = loop_of(lambda: Stopped(red_car()), stop=stop)
    detect = loop.registrar.finder.detector.detect
    seen = []

    def detected(picture):
        seen.append(picture)
        if len(seen) == 10:
            looked.set()
        return detect(picture)

    loop.registrar.finder.detector.detect = detected
    loop.run()
    assert loop.status.state == "stopped" and len(list(gallery.sightings())) == 1


def test_a_disk_that_is_full_for_a_while_loses_no_vehicle(loop_of, gallery, clock, monkeypatch):
    stop, tries = Event(), []
    add = gallery.add

    def full(*arguments):
        tries.append(clock.seconds)
        if len(tries) < 4:
            raise ReIDError("no space left")
        return add(*arguments)

    monkeypatch.setattr(gallery, "add", full)
    loop = loop_of(scripted(ToyStream(red_car()), ReIDError("away"), stop=stop), stop=stop)
    loop.run()
    assert len(list(gallery.sightings())) == 1 and clock.waited[:3] == [1, 2, 4]
    assert loop.status.vehicles == 1


def test_a_recording_is_registered_once_and_then_done(loop_of, gallery, tmp_path):
    clip = car_and_truck(tmp_path / "clip.mp4")
    for vehicles in (2, 0):
        loop = loop_of(lambda: open_source(clip))
        loop.run()
        assert (loop.status.state, loop.status.vehicles, loop.status.dropped) == ("done", vehicles, 0)
        assert len(list(gallery.sightings())) == 2
    assert loop.status.frames == 0


def test_a_recording_that_was_stopped_is_finished_by_the_next_start(loop_of, gallery, tmp_path):
    clip, stop = car_and_truck(tmp_path / "clip.mp4"), Event()
    loop = loop_of(lambda: open_source(clip), stop=stop)
    loop.changed = lambda status: stop.set() if status.frames == 50 else None
    loop.run()
    assert loop.status.state == "stopped"
    loop_of(lambda: open_source(clip)).run()
    whole = {(one.id, one.type) for one in gallery.sightings()}
    assert sorted(kind for _, kind in whole) == ["car", "truck"]


def test_a_recording_without_a_vehicle_is_done_and_says_so(loop_of, tmp_path):
    clip = write_clip(tmp_path / "empty.mp4", [scene()] * 12)
    loop = loop_of(lambda: open_source(clip))
    loop.run()
    assert loop.status.state == "done" and loop.status.error.startswith("no vehicle was found in empty.mp4")


def test_no_password_is_in_a_status(loop_of):
    stop = Event()
    away = ReIDError("the proxy http://me:geheim@10.0.0.1/ says no")
    loop = loop_of(scripted(away, away, stop=stop), stop=stop)
    seen = []
    loop.changed = seen.append
    loop.run()
    assert "geheim" not in str(seen) and "10.0.0.1" in str(seen)
