"""Galleries in folders that are not there yet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reid_lightning.search.gallery import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def other(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "other")


@pytest.fixture
def no_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine: nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
