"""One contract for all vector stores: what is written is found again, exactly, by everybody."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from toy_vectors import Open, everything, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, VectorRecord

HOSTILE = (
    "it's",
    '"quoted"',
    "back\\slash",
    "x') OR 1=1 --",
    'x" or id != "',
    "%20",
    "a_b%",
    "沪A·12345",
    "line\nbreak",
    "",
    " ",
    "`time`",
    "{0}",
    "true",
)


def passes(record: VectorRecord, where: Filter) -> bool:
    """The slow and obvious filter."""
    if where.vehicles is not None and record.vehicle not in where.vehicles:
        return False
    if where.cameras is not None and record.camera not in where.cameras:
        return False
    if where.types is not None and record.type not in where.types:
        return False
    if (where.since is not None or where.until is not None) and record.time is None:
        return False
    return (where.since is None or record.time >= where.since) and (where.until is None or record.time < where.until)


FILTERS = [
    Filter(),
    Filter(vehicles=("V3",)),
    Filter(vehicles=("V1", "V2", "nobody")),
    Filter(cameras=("c0",), types=("car",)),
    Filter(cameras=("c0",), types=("truck",)),
    Filter(since=1e9 + 20),
    Filter(until=1e9 + 20),
    Filter(since=1e9 + 11, until=1e9 + 12),
    Filter(cameras=("c1", "c2"), since=1e9 + 5, until=1e9 + 40, vehicles=("V4", "V5", "V6")),
    Filter(vehicles=()),
    Filter(since=float("-inf"), until=float("inf")),
]


@pytest.mark.parametrize("exact_up_to", [1000, 0])
def test_search_count_and_scan_agree_with_a_loop(opened: Open, exact_up_to: int) -> None:
    store = opened(exact_up_to=exact_up_to)
    given, rows, queries = records(60), vectors(60), vectors(3, seed=1)
    store.upsert(given, rows)
    reader = opened(exact_up_to=exact_up_to)
    for where in FILTERS:
        allowed = [i for i, record in enumerate(given) if passes(record, where)]
        assert reader.count(where) == len(allowed)
        assert {record.id for part in reader.records(where) for record in part} == {given[i].id for i in allowed}
        found = everything(reader, where)
        assert {record for record, _ in found.values()} == {given[i] for i in allowed}
        for i in allowed:
            np.testing.assert_allclose(found[given[i].id][1], rows[i], atol=1e-3)
        for query, hits in zip(queries, reader.search(queries, top_k=5, where=where), strict=True):
            best = sorted(allowed, key=lambda i: -float(rows[i] @ query))[:5]
            assert [hit.record for hit in hits] == [given[i] for i in best]
            np.testing.assert_allclose([hit.score for hit in hits], [rows[i] @ query for i in best], atol=1e-3)


def test_an_empty_store_gives_nothing(opened: Open) -> None:
    store = opened()
    assert store.search(vectors(2), top_k=3) == [[], []]
    assert store.search(vectors(0), top_k=3) == []
    assert store.count() == 0 and list(store.records()) == [] and everything(store) == {}
    store.upsert([], vectors(0))
    store.delete([])
    store.optimize()
    assert opened().count() == 0


def test_upsert_replaces_and_delete_removes(opened: Open) -> None:
    store, other = opened(), opened()
    given, rows = records(10), vectors(11)
    store.upsert(given, rows[:10])
    assert other.count() == 10 and other.search(rows[10:], top_k=1)[0][0].record in given
    changed = VectorRecord(given[3].id, "s", "OTHER", "", "bus", None)
    store.upsert([changed], rows[10:])
    assert other.count() == 10
    hit = other.search(rows[10:], top_k=1)[0][0]
    assert hit.record == changed and hit.score == pytest.approx(1, abs=1e-3)
    store.delete([given[3].id, "nobody", given[4].id])
    assert other.count() == 8 and other.search(rows[10:], top_k=1)[0][0].record != changed
    assert set(everything(other)) == {one.id for one in given} - {given[3].id, given[4].id}
    store.purge()
    assert set(everything(other)) == {one.id for one in given} - {given[3].id, given[4].id}
    store.upsert([given[3], changed], rows[[3, 10]])
    assert everything(other)[changed.id][0] == changed  # of one id twice in a batch the last one stays


def test_equal_scores_come_by_id(opened: Open) -> None:
    store = opened()
    given = records(12)
    store.upsert(given[::-1], np.repeat(vectors(1), 12, axis=0))
    assert [hit.record for hit in store.search(vectors(1), top_k=4)[0]] == given[:4]
    some = store.search(vectors(1), top_k=10, where=Filter(cameras=("c1",)))[0]
    assert [hit.record for hit in some] == given[1::3]


def test_replace_holds_nothing_else(opened: Open) -> None:
    store, other = opened(), opened()
    store.upsert(records(10), vectors(10))

    def batches() -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        yield records(3, prefix="n"), vectors(3)
        assert other.count() == 10
        yield records(2, prefix="m"), vectors(2, seed=5)

    store.replace(batches())
    assert set(everything(other)) == {one.id for one in [*records(3, prefix="n"), *records(2, prefix="m")]}
    store.upsert(records(1), vectors(1))
    assert other.count() == opened().count() == 6


def test_replace_that_fails_keeps_the_old(opened: Open) -> None:
    store = opened()
    store.upsert(records(10), vectors(10))

    def batches() -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        yield records(3, prefix="n"), vectors(3)
        raise ReIDError("the picture is damaged")

    with pytest.raises(ReIDError, match="picture is damaged"):
        store.replace(batches())
    assert opened().count() == 10


@pytest.mark.parametrize("name", ["vehicle", "camera", "type", "id"])
def test_hostile_texts_are_only_texts(opened: Open, name: str) -> None:
    store = opened(exact_up_to=0)
    texts = [text or "-" if name == "id" else text for text in HOSTILE]
    plain = {"sighting": "s", "vehicle": "v", "camera": "c", "type": "t", "time": 1.0}
    given = [VectorRecord(**{**plain, "id": f"r{i}", name: text}) for i, text in enumerate(texts)]
    rows = vectors(len(given))
    store.upsert(given, rows)
    for record, row in zip(given, rows, strict=True):
        if name == "id":
            assert store.search(row[None], top_k=1)[0][0].record == record
            continue
        where = Filter(
            **{{"vehicle": "vehicles", "camera": "cameras", "type": "types"}[name]: (getattr(record, name),)}
        )
        assert store.count(where) == 1
        assert [hit.record for hit in store.search(row[None], top_k=3, where=where)[0]] == [record]
    if name == "id":
        for number, record in enumerate(given):
            store.delete([record.id])
            assert store.count() == len(given) - number - 1


def test_a_large_store_finds_what_comparing_all_finds(opened: Open) -> None:
    store = opened(exact_up_to=500)
    centres = vectors(400)
    noisy = np.repeat(centres, 5, axis=0) + 0.1 * vectors(2000, seed=2)
    rows = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    given = records(2000)
    store.upsert(given[:1900], rows[:1900])
    store.optimize()
    store.upsert(given[1900:], rows[1900:])  # after the index was built
    queries = centres[::8]
    for where, least in ((Filter(), 0.99), (Filter(cameras=("c1",)), 0.99), (Filter(vehicles=("V2",)), 1.0)):
        allowed = np.array([i for i, record in enumerate(given) if passes(record, where)])
        hits = store.search(queries, top_k=5, where=where)
        best = np.argsort(-(queries @ rows[allowed].T), axis=1)[:, :5]
        right = [
            len({hit.record.id for hit in row} & {given[i].id for i in allowed[columns]})
            for row, columns in zip(hits, best, strict=True)
        ]
        assert sum(right) / (5 * len(queries)) >= least
    store.delete([one.id for one in given[:100]])
    store.optimize()
    store.purge()
    assert opened(exact_up_to=500).count() == 1900
    assert store.search(rows[200:201], top_k=1)[0][0].record == given[200]
    assert all(hit.record not in given[:100] for row in store.search(rows[:20], top_k=5) for hit in row)
