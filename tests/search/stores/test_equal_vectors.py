"""Equal vectors have equal scores and come by id, whatever else is in the store and whatever a filter leaves of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_vectors import MODEL, records, vectors

from reid_lightning.search.gallery import open_store
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.exact import ExactVectors
from reid_lightning.search.stores.lance_rows import FIELDS


def assert_ordered(hits, equal_to: dict[str, int]) -> None:
    """Best first; of one vector all have one score; equal scores come by id."""
    assert [(-hit.score, hit.record.id) for hit in hits] == sorted((-hit.score, hit.record.id) for hit in hits)
    scores: dict[int, set[float]] = {}
    for hit in hits:
        scores.setdefault(equal_to[hit.record.id], set()).add(hit.score)
    assert all(len(found) == 1 for found in scores.values())


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    which=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    dim=st.sampled_from([1, 3, 16, 37, 128, 512]),
    cameras=st.sampled_from([None, ("c0",), ("c0", "c1")]),
    queries=st.integers(1, 5),
    top_k=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_equal_vectors_come_by_id(which, dim, cameras, queries, top_k, seed) -> None:
    rows = vectors(5, dim=dim, seed=seed).astype(np.float16)[which]
    kept = [VectorRecord(f"r{i:02d}", "s", "v", f"c{(i * 7 + seed) % 3}", "car") for i in range(len(which))]
    table = pa.table({name: [getattr(record, name) for record in kept] for name in FIELDS})
    order = np.random.default_rng(seed).permutation(len(which))
    store = ExactVectors(dim).appended(order.astype(np.uint64), table.take(order), rows[order])
    found = store.search(vectors(queries, dim=dim, seed=seed + 1), top_k=top_k, where=Filter(cameras=cameras))
    for hits in found:
        assert_ordered(hits, {record.id: row for record, row in zip(kept, which, strict=True)})


@pytest.mark.parametrize("exact_up_to", [1000, 0])
@pytest.mark.parametrize("indexed", [False, True])
def test_more_equal_vectors_than_are_asked_for_come_by_id(tmp_path: Path, exact_up_to: int, indexed: bool) -> None:
    store = open_store(tmp_path / "store", **MODEL, exact_up_to=exact_up_to)
    given_records, rows = records(300), np.repeat(vectors(3), 100, axis=0)
    order = np.random.default_rng(0).permutation(300)
    store.upsert([given_records[i] for i in order], rows[order])
    if indexed:
        store.optimize()
    assert [hit.record for hit in store.search(vectors(1), top_k=5)[0]] == given_records[:5]
    some = store.search(vectors(1), top_k=5, where=Filter(cameras=("c1",)))[0]
    assert [hit.record for hit in some] == given_records[1:16:3]
