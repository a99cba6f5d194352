"""What the tests of the pages start from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gallery_page import DAY, HOSTILE, NEW_YEAR, SECONDS, add, good
from search_page import (
    PROJECT,
)
from streamlit.testing.v1 import AppTest
from toy_clips import scene, write_clip

from reid_lightning.search.gallery import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    made = Gallery(tmp_path / "gallery")
    add(made, "a1", "AB12CDE", crops=2, plate="AB12CDE", plate_confidence=0.91)
    add(made, "a2", "AB12CDE", camera="south", start=NEW_YEAR + DAY, end=NEW_YEAR + DAY + 3)
    add(made, "b1", "MY TRUCK", type="truck", camera="south", start=None, end=None, plate="XY-99 ZZZ")
    add(made, "c1", HOSTILE, camera=HOSTILE, source_name=HOSTILE, plate=HOSTILE, type=HOSTILE)
    return made


@pytest.fixture
def start(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Opens the page in a browser tab of its own."""

    def run(*given: str, vehicle: str | None = None) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", "gallery=gallery", *given])  # the same for all: composed once
        monkeypatch.chdir(tmp_path)
        app = AppTest.from_file(str(project / "reid_lightning/app/main.py"), default_timeout=SECONDS)
        app.switch_page("screens/gallery.py")
        if vehicle is not None:
            app.query_params["vehicle"] = vehicle
        return good(app.run())

    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of empty road, then a red car drives by."""
    frames = [scene() for _ in range(10)] + [scene(red=(4 * n, 30)) for n in range(25)] + [scene() for _ in range(15)]
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames)


@pytest.fixture
def open_page(tmp_path, monkeypatch, bundle):
    def opened(*arguments):
        given = [f"gallery={tmp_path / 'gallery'}", f"bundle={bundle}", "plate_reader=none", "detector.warm_up=3"]
        monkeypatch.setattr(sys, "argv", ["main.py", *given, *arguments])
        monkeypatch.chdir(tmp_path)
        at = AppTest.from_file(str(PROJECT / "reid_lightning/app/main.py"), default_timeout=60)
        return at.switch_page("screens/search.py").run()

    return opened
