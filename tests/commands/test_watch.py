"""`reid watch` as a user starts it, on a recording that ends; what is wrong is said before work begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_clips import scene, write_clip
from webhook_server import WebhookServer

from reid_lightning.search.gallery import Gallery

FAST = ("plate_reader=none", "detector.warm_up=3")
CAMERAS = "cameras: {yard: clip.mp4}\n"


@pytest.fixture
def clip(tmp_path):
    """A second of empty road, then a red car drives by."""
    frames = [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)] + [scene() for _ in range(15)]
    return write_clip(tmp_path / "clip.mp4", frames)


@pytest.fixture
def watch(run_command, bundle):
    words = ("gallery=gallery", f"bundle={bundle}", *FAST)
    return lambda *more: run_command("reid", "watch", "cameras=cameras.yaml", "metrics_port=0", *words, *more)


def texts(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def test_a_recording_is_watched_and_a_vehicle_that_is_looked_for_is_told(watch, run_command, bundle, clip, tmp_path):
    registered = run_command(
        "register.py", f"source={clip}", "camera=south", "gallery=gallery", f"bundle={bundle}", *FAST
    )
    assert registered.returncode == 0, registered.stderr
    (known,) = Gallery(tmp_path / "gallery").sightings()
    with WebhookServer() as server:
        server.answers = [503]
        (tmp_path / "cameras.yaml").write_text(
            f"{CAMERAS}watch: {{wanted: {{vehicles: [{known.vehicle}], min_score: 0.95}}}}\n"
            f"hits: {{webhook: 'http://me:geheim@127.0.0.1:{server.server_port}/hits'}}\n"
        )
        finished = watch("hydra.run.dir=run", "spool=spool")
        assert finished.returncode == 0, finished.stderr
        again = watch("hydra.run.dir=again", "spool=spool")
        hits = server.hits()
    assert again.returncode == 0 and len(list(Gallery(tmp_path / "gallery").sightings())) == 2
    (sighting,) = [one for one in Gallery(tmp_path / "gallery").sightings() if one.camera == "yard"]
    assert len(hits) == 2 and hits[0] == hits[1]  # the first time the server was busy
    assert (hits[0]["sighting"], hits[0]["watched"], hits[0]["list"]) == (sighting.id, known.vehicle, "wanted")
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-3) and hits[0]["like"] == known.id and hits[0]["crop"]
    assert not list((tmp_path / "spool").rglob("*.json"))
    assert "0 of 1 cameras watched" in finished.stdout
    assert "1 delivered" in finished.stdout + again.stdout  # by the second command, where the first one had ended
    said = finished.stdout + finished.stderr + texts(tmp_path / "run") + texts(tmp_path / "again")
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (None, (), r"cameras.yaml cannot be read: No such file"),
        ("cameras: {yard: nowhere.mp4}", (), "cameras.yaml: camera yard: nowhere.mp4 does not exist"),
        (CAMERAS + "watch: {s: {vehicles: [NOBODY]}}", (), "cameras.yaml: watch list s: no vehicle 'NOBODY'"),
        (CAMERAS, ("processes=0",), "processes is 0; expected a whole number of 1 or more"),
        (CAMERAS, ("metrics_port=70000",), "metrics_port is 70000; expected a port from 0"),
        (CAMERAS, ("min_score=2",), "min_score is 2"),
        (CAMERAS, ("tracker.lost_seconds=-1",), "lost_seconds -1"),  # of a process that watches
    ],
)
def test_a_mistake_is_one_error_before_anything_is_watched(watch, clip, tmp_path, content, words, said):
    if content is not None:
        (tmp_path / "cameras.yaml").write_text(content)
    finished = watch(*words)
    errors = finished.stderr
    assert finished.returncode == 1 and "Traceback" not in errors and errors.count("error: ") == 1, errors
    assert said in errors.split("error: ")[1]
    assert not list((tmp_path / "gallery").glob("*/*.json"))
