"""The demo button: its work with a stand-in for train.py, what stopping and failing leave, and its page."""

import os
import shutil
import sys
import textwrap
import time
from pathlib import Path

import pytest
from filelock import FileLock
from streamlit.testing.v1 import AppTest
from toy_clips import scene, write_clip

from reid_lightning.app.context import AppContext, _settings
from reid_lightning.app.demo import page as demo
from reid_lightning.app.demo.job import DemoPlan, make_demo, run_child
from reid_lightning.app.jobs import Job
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.synthetic.traffic import TrafficSpec

LIMIT = 300  # seconds after which something hangs, however busy the machine is
FAST = ("plate_reader=none", "detector.warm_up=3")
TRAINS = """
    import pathlib, shutil, sys
    run = pathlib.Path(sys.argv[-1].removeprefix("hydra.run.dir="))
    (run / "config.yaml").write_text("trainer: {max_epochs: 2}")
    shutil.copytree(sys.argv[1], run / "bundle")
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of empty road, then a red car drives by."""
    frames = [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)] + [scene() for _ in range(15)]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return AppContext(_settings(FAST))


@pytest.fixture
def plan_with(tmp_path, bundle, clip):
    """A plan whose traffic is drawn already and whose training is a few lines of Python."""

    def make(script=TRAINS):
        traffic = TrafficSpec()
        folder = tmp_path / "data/synthetic" / traffic.folder_name
        folder.mkdir(parents=True)
        for camera in ("north", "south"):
            shutil.copy(clip, folder / f"{camera}.mp4")
        path = tmp_path / "stand_in.py"
        path.write_text(textwrap.dedent(script))
        return DemoPlan(traffic=traffic, model=(str(path), str(bundle)))

    return make


def ended(job):
    assert job.wait(LIMIT), "the demo is still running"
    return job


def gone(number):
    """Whether a process has ended, within ten seconds."""
    for _ in range(100):
        try:
            if Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def test_the_demo_leaves_a_model_a_gallery_and_a_clip_to_search_in(context, plan_with, tmp_path):
    job = ended(Job("demo", make_demo(context, plan_with())))
    assert not job.error and job.share == 1.0
    made = job.result
    assert made.vehicles == 1 and made.camera == "south" and made.clip.name == "south.mp4" and made.clip.is_file()
    (sighting,) = Gallery(tmp_path / "data/gallery").sightings()
    assert sighting.camera == "north"
    assert context.bundle() == made.bundle and made.bundle.parent.name.startswith("demo-")
    with context.store(context.embedder()) as store:
        assert store.count() == len(sighting.crops)
    assert not (tmp_path / "runs/demo").exists()


def test_a_gallery_with_vehicles_is_left_alone(context, plan_with, tmp_path):
    plan = plan_with()
    ended(Job("demo", make_demo(context, plan)))
    before = sorted(path for path in (tmp_path / "data/gallery").rglob("*.jpg"))
    time.sleep(1.1)  # runs are named by the second
    again = ended(Job("demo", make_demo(context, plan)))
    assert again.state == "done" and again.result.vehicles is None
    assert sorted(path for path in (tmp_path / "data/gallery").rglob("*.jpg")) == before


def test_a_training_that_fails_says_its_last_line_and_leaves_no_model(context, plan_with, tmp_path):
    script = "import sys\nprint('drawing')\nsys.exit('\\nerror: no room on the disk.')"
    job = ended(Job("demo", make_demo(context, plan_with(script))))
    assert job.state == "failed" and job.error.startswith("no room on the disk. (all that it said: runs/demo/demo-")
    log = Path(job.error.rsplit(": ", 1)[1].rstrip(")"))
    assert "drawing" in (tmp_path / log).read_text()
    assert context.bundle() is None and list(Gallery(tmp_path / "data/gallery").sightings()) == []


def test_a_model_that_is_whole_stays_when_nothing_could_be_registered(context, plan_with, tmp_path):
    plan = plan_with()
    write_clip(plan.data / plan.traffic.folder_name / "north.mp4", [scene() for _ in range(12)])
    job = ended(Job("demo", make_demo(context, plan)))
    assert job.state == "failed" and "no vehicle was found in north.mp4" in job.error
    assert context.bundle() is not None


def test_a_stopped_demo_ends_its_processes_and_keeps_nothing(context, plan_with, tmp_path):
    script = """
        import os, pathlib, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        pathlib.Path("numbers.part").write_text(f"{os.getpid()} {helper.pid}")
        os.rename("numbers.part", "numbers")
        time.sleep(300)
    """
    job = Job("demo", make_demo(context, plan_with(script)))
    end = time.monotonic() + LIMIT
    while not (tmp_path / "numbers").exists() and job.running and time.monotonic() < end:
        time.sleep(0.1)
    numbers = [int(number) for number in (tmp_path / "numbers").read_text().split()]
    job.cancel()
    assert ended(job).state == "cancelled"
    assert all(gone(number) for number in numbers)
    assert not (tmp_path / "runs/demo").exists() and context.bundle() is None


def test_only_one_demo_is_made_at_a_time(context, plan_with, tmp_path):
    plan = plan_with()
    (tmp_path / "runs").mkdir()
    with FileLock(tmp_path / "runs/.demo.lock"):
        job = ended(Job("demo", make_demo(context, plan)))
    assert job.state == "failed" and "being made already" in job.error


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it was ended by signal 9"),
        ("raise SystemExit(3)", "it ended with status 3"),
        ("raise ValueError('seven')", "ValueError: seven"),
    ],
)
def test_every_way_to_fail_is_told(tmp_path, code, words):
    with pytest.raises(ReIDError, match=words):
        run_child([sys.executable, "-c", code], log=tmp_path / "log", look=lambda: None)


@pytest.fixture
def page(context, plan_with, project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["main.py", *FAST])
    plan = plan_with()
    monkeypatch.setattr(demo, "DemoPlan", lambda: plan)
    return AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=LIMIT).run()


def button(page, label):
    return next(one for one in page.button if one.label.startswith(label))


def test_the_page_without_a_model_says_how_to_get_one_and_makes_one(page):
    assert not page.exception
    said = " ".join(one.value for one in page.markdown)
    assert "make train" in said and "bundle=<folder>" in said
    button(page, "Make the demo").click().run()
    assert not page.exception
    assert ended(page.session_state[demo.KEY]).state == "done"
    page.run()
    assert not page.exception and not any(one.label.startswith("Make the demo") for one in page.button)
    assert any("Find vehicles" in one.label for one in page.button)


def test_the_page_tells_why_there_is_no_demo(page, context):
    with FileLock("runs/.demo.lock"):
        button(page, "Make the demo").click().run()
        ended(page.session_state[demo.KEY])
        page.run()
    assert not page.exception and "being made already" in page.error[0].value
    assert button(page, "Make the demo")


@pytest.mark.slow
def test_the_whole_demo(context, tmp_path):
    traffic = TrafficSpec(vehicles=2, seconds=23.0, frames_per_second=8, width=640, height=360)
    job = Job("demo", make_demo(context, DemoPlan(traffic=traffic)))
    assert job.wait(400) and not job.error
    assert 1 <= job.result.vehicles <= 3
    assert (job.result.bundle.parent / "output.log").stat().st_size > 0
    assert context.embedder().options.data["training"].startswith("none")
    assert os.listdir(tmp_path / "runs") and not (tmp_path / "runs/demo").exists()
