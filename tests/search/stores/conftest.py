"""A store to damage: made once, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_vectors import MODEL, records, vectors

from reid_lightning.search.gallery import open_store


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three writes and a deletion, in a folder of its own."""
    folder = tmp_path_factory.mktemp("whole")
    store = open_store(folder / ".index", **MODEL)
    for part in range(3):
        store.upsert(records(12)[4 * part : 4 * part + 4], vectors(12)[4 * part : 4 * part + 4])
    store.delete([records(12)[1].id])
    return folder


@pytest.fixture
def uri(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "gallery")
    return tmp_path / "gallery" / ".index"
