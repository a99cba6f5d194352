"""One small video for all who only read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_videos import write_video


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", creation_time="2024-05-06T07:08:09Z")
