"""What went wrong in the engine of vectors, in one line with the advice that fits the cause."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from toy_vectors import MODEL, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import open_store
from reid_lightning.search.stores.base import DamagedStoreError, StoreError
from reid_lightning.search.stores.lance_errors import reported, without_panics_shown
from reid_lightning.search.stores.lance_folder import TableFolder


class PanicException(BaseException):
    """As that of pyo3."""


@pytest.mark.parametrize(
    ("error", "words", "is_damage"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space", False),
        (RuntimeError("lance error: IO: Permission denied (os error 13)"), "rights", False),
        (RuntimeError("lance error: IO: Read-only file system (os error 30)"), "writable", False),
        (RuntimeError("Too many open files (os error 24)"), "ulimit", False),
        (PanicException("range end index 9 out of range"), "its engine stopped .*rebuild", True),
        (RuntimeError("Invalid range 0..0, /x/src/dataset.rs:804:43"), "pictures are not touched.*rebuild", True),
    ],
)
def test_advice_fits_the_cause(tmp_path: Path, error: BaseException, words: str, is_damage: bool) -> None:
    message = reported(error, str(tmp_path), done="read")
    assert re.search(words, str(message)) and ".rs:" not in str(message)
    assert isinstance(message, DamagedStoreError) == is_damage == ("rebuild" in str(message))


def test_no_damage_is_told_where_there_is_none(uri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in ((uri, "a/b"), (uri, ""), (uri, ".."), (uri, "a\0b"), (f"{uri}\0", "vehicles")):
        with pytest.raises(ReIDError, match="expected") as raised:
            open_store(place, **MODEL, name=name)
        assert "rebuild" not in str(raised.value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="region and credentials"):
        open_store("s3://bucket/x", **MODEL)
    store = open_store(uri, **MODEL, exact_up_to=0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="set TMPDIR") as raised:
        store.upsert(records(1), vectors(1))
    assert "rebuild" not in str(raised.value)


def test_a_commit_that_comes_between_two_looks_is_no_damage(uri: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = open_store(uri), TableFolder.newest_version
    looks: list[int] = []

    def ahead(place: TableFolder) -> int:  # of a table that took the place, or of a commit that is not to be opened yet
        looks.append(real(place))
        return looks[-1] + (len(looks) < 3)

    monkeypatch.setattr(TableFolder, "newest_version", ahead)
    assert store.count() and len(looks) == 3
    monkeypatch.setattr(TableFolder, "newest_version", lambda place: real(place) + 1)
    with pytest.raises(DamagedStoreError, match="says it is"):
        store.count()


def test_only_panics_are_kept_from_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with without_panics_shown():
        os.write(2, b"before\n")
        os.write(2, b"\nthread 'lancedb-tokio-worker' (30831) panicked at /x/table.rs:804:43:\nrange end index 9\n")
        os.write(2, b"stack backtrace:\n   0: a\n             at b\nnote: Some details are omitted\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"
