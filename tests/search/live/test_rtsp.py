"""A real RTSP server on this machine that is killed and comes back: its camera is watched again, nothing is doubled."""

from __future__ import annotations

import time
from functools import partial
from threading import Event, Lock, Thread

import pytest
from rtsp_server import RtspServer, is_installed
from toy_clips import BrightBoxes, KnowsRed, build_tracker
from toy_streams import red_car, write_h264

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.live.camera_loop import CameraLoop
from reid_lightning.search.live.cameras import Camera, WatchList
from reid_lightning.search.live.checked_registrar import CheckedRegistrar
from reid_lightning.search.live.clock import Pauses
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.watching import Checker, Watched
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

PATIENCE = 120.0


def until(holds) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.05)


@pytest.mark.skipif(not is_installed(), reason="GStreamer's RTSP server is not installed")
def test_a_camera_that_goes_away_and_comes_back_is_watched_again(tmp_path):
    clip = write_h264(tmp_path / "gate.mp4", red_car(20, after=300))
    server, stop = RtspServer([clip]), Event()
    gallery, spool = Gallery(tmp_path / "gallery"), Spool(tmp_path / "spool", ["webhook"], most=9)
    finder = VehicleFinder(BrightBoxes(), KnowsRed(), build_tracker=build_tracker, crops=2)
    checker = Checker(Watched((WatchList("stolen", ("AB12CDE",)),), gallery, None), spool)
    registrar = CheckedRegistrar(gallery, finder, checker=checker, saving=Lock())
    camera = Camera("gate", server.address.replace("//", "//me:geheim@") + "/gate")
    loop = CameraLoop(
        camera,
        partial(open_source, camera.source, timeout=5.0),
        registrar,
        stop=stop,
        pauses=Pauses(first=0.05, longest=0.2),
    )
    began, states = time.time(), []
    loop.changed = states.append
    thread = Thread(target=loop.run, daemon=True)
    thread.start()
    until(lambda: loop.status.state == "pausing")  # nobody is there yet
    with server:
        until(lambda: loop.status.vehicles == 1)
    until(lambda: loop.status.state == "pausing")
    with server:
        until(lambda: loop.status.vehicles == 2)
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive() and loop.status.state == "stopped" and loop.status.connections >= 2
    sightings = list(gallery.sightings())
    assert len(sightings) == len({one.id for one in sightings}) == len({one.source for one in sightings}) == 2
    assert {(one.vehicle, one.camera, one.source_name) for one in sightings} == {
        ("AB12CDE", "gate", f"{server.address}/gate")
    }
    assert all(began < one.start < one.end < time.time() for one in sightings)
    assert len(spool.waiting("webhook")) == 2
    assert "geheim" not in str(states) + "".join(path.read_text() for path in gallery.root.rglob("*.json"))
