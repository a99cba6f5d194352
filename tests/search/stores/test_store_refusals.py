"""What no store takes: vectors, records, filters and addresses that make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_vectors import DIM, MODEL, Open, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.opening import open_store


def test_what_does_not_fit_is_an_error(opened: Open) -> None:
    store = opened()
    for wrong, message in [
        (vectors(2, dim=8), r"\(2, 8\); expected an array \(N, 16\)"),
        (vectors(3), "3 vectors came with 2 records"),
        (2 * vectors(2), "length 2; expected 1"),
        (np.full((2, DIM), np.nan, np.float32), "length nan"),
    ]:
        with pytest.raises(ReIDError, match=message):
            store.upsert(records(2), wrong)
    for record, message in [
        (VectorRecord("", "s", "v", "c", "t"), "expected an id and seconds"),
        (VectorRecord("a", "s", "v", "c" * 1025, "t"), "1025 bytes"),
        (VectorRecord("a", "s", "\udc80", "c", "t"), "no valid text"),
        (VectorRecord("a", "s", "v", "c", "t", float("nan")), "time nan"),
    ]:
        with pytest.raises(ReIDError, match=message):
            store.upsert([record], vectors(1))
    with pytest.raises(ReIDError, match="top_k is 0"):
        store.search(vectors(1), top_k=0)
    with pytest.raises(ReIDError, match="NaN"):
        store.search(vectors(1), top_k=1, where=Filter(since=float("nan")))
    with pytest.raises(ReIDError, match="is the text 'c0'"):
        store.count(Filter(cameras="c0"))
    assert store.count() == 0


def test_uris_and_arguments_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="ftp://x"):
        open_store("ftp://x", **MODEL)
    with pytest.raises(ReIDError, match="both"):
        open_store(tmp_path, fingerprint="x")
    for options in ({}, {**MODEL, "create": False}):
        with pytest.raises(ReIDError, match="no vectors at"):
            open_store(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReIDError, match="file"):
        open_store(tmp_path / "file", **MODEL)
