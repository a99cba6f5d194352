"""register.py and search.py as a user starts them, with a model that nobody trained and clips of drawn boxes."""

import csv
import json
import shutil

import av
import pytest
from PIL import Image
from toy_calibration import calibration
from toy_clips import scene, write_clip

from reid_lightning import atomic
from reid_lightning.bundle.bundle import store_calibration
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery

CALIBRATION = calibration(0.94, (0, 0, 0, 10, 90), (300, 200, 200, 290, 10))
FAST = ["plate_reader=none", "detector.warm_up=3"]


@pytest.fixture
def clip(tmp_path):
    """A second of empty road, then a red car drives by."""
    frames = [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)] + [scene() for _ in range(15)]
    return write_clip(tmp_path / "clip.mp4", frames)


@pytest.fixture
def register(run_command, bundle):
    def run(*arguments, given=FAST):
        return run_command("register.py", "gallery=gallery", f"bundle={bundle}", *given, *arguments)

    return run


@pytest.fixture
def search(run_command, bundle):
    return lambda *arguments: run_command("search.py", "gallery=gallery", f"bundle={bundle}", *arguments)


def error_of(finished):
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr
    assert finished.stderr.count("error: ") == 1, finished.stderr
    return finished.stderr.split("error: ")[1]


def test_a_vehicle_is_registered_and_found_again(register, search, clip, tmp_path):
    finished = register(f"source={clip}", "camera=north", "start=2026-01-01T08:00:00Z", "hydra.run.dir=first")
    assert finished.returncode == 0, finished.stderr
    (sighting,) = Gallery(tmp_path / "gallery").sightings()
    assert sighting.vehicle in finished.stdout and sighting.camera == "north"
    assert (
        "clip.mp4, 1 track: 1 registered" in finished.stdout
        and "1 vehicle registered in gallery, 1 of them new" in finished.stdout
    )
    assert f"wrote {tmp_path / 'first/registered.jpg'}" in finished.stdout
    (source,) = json.loads((tmp_path / "first/registered.json").read_text())
    assert [one["id"] for one in source["sightings"]] == [sighting.id] and source["warning"] is None
    assert source["tracks"].pop("found") == 1 and not any(source["tracks"].values())
    assert Image.open(tmp_path / "first/registered.jpg").width > 100

    again = register(f"source={clip}", "camera=north", "hydra.run.dir=again")
    assert again.returncode == 0 and "was registered for camera north before" in again.stdout
    assert len(list(Gallery(tmp_path / "gallery").sightings())) == 1
    again = register(f"source={clip}", "camera=north", "start=2026-01-01T08:00:00Z", "again=true", "crops=1")
    assert again.returncode == 0, again.stderr
    (sighting,) = Gallery(tmp_path / "gallery").sightings()
    assert len(sighting.crops) == 1

    finished = search(f"query={clip}", "hydra.run.dir=second", "cameras=[north]", "since=2026-01-01T07:00:00Z")
    assert finished.returncode == 0, finished.stderr
    content = json.loads((tmp_path / "second/matches.json").read_text())
    assert content["query"]["min_score"] == 0.6
    assert {match["vehicle"] for match in content["matches"]} == {sighting.vehicle}
    assert all(match["score"] >= 0.6 and match["camera"] == "north" for match in content["matches"])
    assert (tmp_path / "gallery" / content["matches"][0]["picture"]).is_file()
    assert [(one["vehicle"], one["accepted"]) for one in content["tracks"]] == [(sighting.vehicle, True)]
    unknown = {"calibrated": None, "false_match_rate": None, "used_false_match_rate": None}
    assert content["query"]["threshold"] == {"used": 0.6, **unknown}
    assert "this bundle has no calibrated threshold" in finished.stdout and "store_threshold=true" in finished.stderr
    names = ("matches.json", "matches.csv", "tracks.csv", "annotated.mp4", "matches.jpg")
    assert [line for line in finished.stdout.splitlines() if line.startswith("wrote ")] == [
        f"wrote {tmp_path / 'second' / name}" for name in names
    ]
    with (tmp_path / "second/matches.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(content["matches"])
    with av.open(str(tmp_path / "second/annotated.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 50
    assert Image.open(tmp_path / "second/matches.jpg").width > 100

    crop = tmp_path / "gallery" / sighting.vehicle / sighting.crops[0].file
    finished = search(f"query={crop}", "hydra.run.dir=third", f"plate={sighting.vehicle.lower()}")
    assert finished.returncode == 0 and sighting.vehicle in finished.stdout
    (match,) = json.loads((tmp_path / "third/matches.json").read_text())["matches"]
    assert match["score"] == pytest.approx(1, abs=1e-3)
    assert len(list((tmp_path / "third/annotated").glob("*.jpg"))) == 1


def test_a_search_below_the_calibrated_threshold_is_warned_of(register, search, bundle, clip, tmp_path):
    calibrated = shutil.copytree(bundle, tmp_path / "calibrated")
    store_calibration(calibrated, CALIBRATION)
    register(f"source={clip}", "camera=north")
    finished = search(f"query={clip}", f"bundle={calibrated}", "hydra.run.dir=low", "draw=false")
    assert "Matches from 0.60 on; this bundle's calibrated threshold is 0.94 (one false match in 100 pairs)." in (
        finished.stderr
    )
    assert "At 0.60 about 30 % of different pairs of its calibration pass, and each vehicle is compared with" in (
        finished.stderr
    )
    assert "expect wrong matches; min_score=calibrated is one word away" in finished.stderr
    assert "calibrated threshold is 0.94" in finished.stdout
    threshold = json.loads((tmp_path / "low/matches.json").read_text())["query"]["threshold"]
    assert threshold == {"used": 0.6, "calibrated": 0.94, "false_match_rate": 0.01, "used_false_match_rate": 0.3}
    calibrated = search(f"query={clip}", f"bundle={calibrated}", "min_score=calibrated", "draw=false")
    assert "Matches from 0.94 on" in calibrated.stderr and "expect wrong" not in calibrated.stderr


def test_mistakes_of_search_are_told_in_one_message(register, search, clip, tmp_path):
    for query, message in (
        ("nowhere.mp4", "nowhere.mp4 does not exist"),
        ("/dev/zero", "/dev/zero cannot be read: it is a device"),
        ("ftp://camera/1", "ftp://camera/1 is no address that is read; expected a path, or one with rtsp:"),
        ("rtsp://camera:99999/1", "rtsp://camera:99999/1 is no address: its host"),
    ):  # before the model is loaded, and the gallery missed
        assert message in error_of(search(f"query={query}"))
    assert "no gallery at gallery; register vehicles first" in error_of(search(f"query={clip}"))
    assert not (tmp_path / "gallery").exists()
    register(f"source={clip}", "camera=north")
    assert "no vehicle '../../x'" in error_of(search(f"query={clip}", "plate=../../x"))
    assert "no calibrated threshold" in error_of(search(f"query={clip}", "min_score=calibrated"))
    assert "min_score is 7; expected a cosine similarity" in error_of(search(f"query={clip}", "min_score=7"))
    assert "no vehicle '51E12345'" in error_of(search(f"query={clip}", "plate=51E12345"))
    assert "types is 'cra'; expected some of car" in error_of(search(f"query={clip}", "types=cra"))
    assert "tracker: VehicleTracker takes no 'speed'" in error_of(search(f"query={clip}", "+tracker.speed=3"))
    assert "since is 'soon'" in error_of(search(f"query={clip}", "since=soon"))
    assert "no registered picture meets the filter" in error_of(search(f"query={clip}", "cameras=[west]"))
    assert "travel_times needs the query's camera" in error_of(
        search(f"query={clip}", f"travel_times={write_times(tmp_path)}")
    )
    assert not list(tmp_path.glob("runs/search/*/matches*"))


def write_times(folder):
    path = folder / "times.csv"
    path.write_text("from,to,seconds\nnorth,south,60\n")
    return path


def test_mistakes_of_register_are_told_in_one_message_and_leave_nothing(register, bundle, clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:300])
    still = write_clip(tmp_path / "still.mp4", [scene() for _ in range(12)])
    given = [f"source={clip}", "camera=north"]
    assert "text.mp4" in error_of(register(f"source=[{clip},text.mp4]", "camera=north"))
    assert "cut.mp4" in error_of(register("source=cut.mp4", "camera=north"))
    assert "no vehicle was found in still.mp4 by the motion" in error_of(register(f"source={still}", "camera=north"))
    assert "camera is null; expected a name" in error_of(register(f"source={clip}", "camera=null"))
    assert "source is empty" in error_of(register("source=[]", "camera=north"))
    assert "crops is 0" in error_of(register(*given, "crops=0"))
    two = f"source=[{clip},{still}]"
    assert "2 sources and start=2026" in error_of(register(two, "camera=north", "start=2026-01-01"))
    assert "not the folder of a bundle" in error_of(register(*given, f"bundle={tmp_path}"))
    assert "start is" in error_of(register(*given, "start=yesterday"))
    assert "detector.path" in error_of(register(*given, "detector=yolox", "detector.path=x.onnx", given=FAST[:1]))
    assert list(Gallery(tmp_path / "gallery").sightings()) == [] and not list(tmp_path.rglob("*.jpg"))
    assert all((run / "config.yaml").is_file() for run in (tmp_path / "runs/register").iterdir()), "an empty folder"


def test_one_source_without_vehicles_does_not_keep_the_others_out(register, clip, tmp_path):
    still = write_clip(tmp_path / "still.mp4", [scene() for _ in range(12)])
    finished = register(f"source=[{still},{clip}]", "camera=north", "hydra.run.dir=run")
    assert "no vehicle was found in still.mp4" in error_of(finished)
    assert len(list(Gallery(tmp_path / "gallery").sightings())) == 1
    written = json.loads((tmp_path / "run/registered.json").read_text())
    assert [len(source["sightings"]) for source in written] == [0, 1]


def test_ctrl_c_ends_a_search_with_what_was_found_so_far(register, search, clip, tmp_path, monkeypatch):
    from reid_lightning.search.matching import vehicle_search

    register(f"source={clip}", "camera=north")
    follow = vehicle_search.follow

    def until(*given, **options):
        for step in follow(*given, **options):
            if step.frame.number == 33:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(vehicle_search, "follow", until)
    finished = search(f"query={clip}", "hydra.run.dir=run")
    assert finished.returncode == 130 and f"wrote {tmp_path / 'run/annotated.mp4'}" in finished.stdout
    content = json.loads((tmp_path / "run/matches.json").read_text())
    assert {match["frame"] for match in content["matches"]} <= set(range(32)) and content["matches"]
    with av.open(str(tmp_path / "run/annotated.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 32  # whole batches of frames


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (ReIDError("the camera is gone."), 1)])
def test_a_registration_that_ends_early_says_what_it_has_saved(register, clip, tmp_path, monkeypatch, stop, status):
    from reid_lightning.search.registration import Registrar

    keep = Registrar.keep

    def until(*given, **options):
        yield from keep(*given, **options)
        raise stop

    monkeypatch.setattr(Registrar, "keep", until)
    finished = register(f"source={clip}", "camera=north", "hydra.run.dir=run")
    assert finished.returncode == status
    assert "1 vehicle registered in gallery, 1 of them new" in finished.stdout
    assert f"wrote {tmp_path / 'run/registered.json'}" in finished.stdout


def test_an_error_in_the_middle_of_a_search_keeps_what_was_found_until_then(
    register, search, clip, tmp_path, monkeypatch
):
    from reid_lightning.search.matching import vehicle_search

    register(f"source={clip}", "camera=north")
    follow = vehicle_search.follow

    def until(*given, **options):
        for step in follow(*given, **options):
            if step.frame.number == 33:
                raise ReIDError("the camera is gone.")
            yield step

    monkeypatch.setattr(vehicle_search, "follow", until)
    finished = search(f"query={clip}", "hydra.run.dir=run")
    assert "the camera is gone" in error_of(finished)
    assert f"wrote {tmp_path / 'run/matches.json'}" in finished.stdout
    assert json.loads((tmp_path / "run/matches.json").read_text())["matches"]


def test_a_full_disk_keeps_what_is_whole(register, clip, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(atomic.os, "fsync", full)
        message = error_of(register(f"source={clip}", "camera=north"))
    assert "No space left" in message
    assert list(Gallery(tmp_path / "gallery").sightings()) == []
    assert not list((tmp_path / "gallery").rglob("*.jpg"))
    assert register(f"source={clip}", "camera=north").returncode == 0
    assert len(list(Gallery(tmp_path / "gallery").sightings())) == 1


def test_no_password_is_written(register, search, tmp_path):
    assert register("source=rtsp://bob:s3cret@127.0.0.1:9/x", "camera=a").returncode == 1
    register("source=nothing.mp4", "camera=a", "stores=milvus", "stores.uri=http://u:s3cret@127.0.0.1:9")
    search("query=rtsp://bob:s3cret@127.0.0.1:9/x", "stores.token=s3cret", "stores=milvus")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()], written
