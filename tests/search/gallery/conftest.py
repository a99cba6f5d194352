"""Galleries in folders that are not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid_lightning.search.gallery import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def other(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "other")
