"""The copy in memory that searches compare: it follows what anybody writes, reads only that, and has a bound."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from toy_vectors import DIM, MODEL, everything, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores import exact, lance_search
from reid_lightning.search.stores.lance_search import LanceSearch
from reid_lightning.search.stores.opening import open_store


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vectors were read into copies, a number a piece."""
    counts: list[int] = []
    real = LanceSearch.vectors

    def counting(search: LanceSearch, rows):
        counts.append(len(rows))
        return real(search, rows)

    monkeypatch.setattr(LanceSearch, "vectors", counting)
    return counts


def read_by_search(store, read: list[int]) -> int:
    read.clear()
    store.search(vectors(1), top_k=1)
    return sum(read)


def test_the_next_search_reads_only_what_was_written(tmp_path: Path, read: list[int]) -> None:
    writer, reader = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    given, rows = records(200), vectors(200)
    writer.upsert(given[:150], rows[:150])
    assert read_by_search(reader, read) == 150
    assert read_by_search(reader, read) == 0
    writer.upsert(given[140:153], rows[140:153])
    assert read_by_search(reader, read) == 13
    writer.delete([given[3].id, given[4].id])
    assert read_by_search(reader, read) == 0
    writer.optimize()  # which joins the files
    assert read_by_search(reader, read) == 0
    writer.upsert(given[153:], rows[153:])
    writer.delete([given[199].id])
    writer.optimize()
    assert read_by_search(reader, read) == 46
    writer.purge()
    assert read_by_search(reader, read) == 197
    writer.replace([(given[:5], rows[:5])])
    assert read_by_search(reader, read) == 5
    assert [hit.record for hit in reader.search(rows[2:3], top_k=1)[0]] == [given[2]]


@pytest.mark.parametrize("seed", range(4))
def test_after_any_writes_the_copy_is_as_a_new_one(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_BLOCK", 16)
    monkeypatch.setattr(lance_search, "_UNUSED", 8)
    generator = np.random.default_rng(seed)
    writer, reader = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    names, filters = records(60), [Filter(), Filter(cameras=("c1", "c2")), Filter(vehicles=("V1",), until=1e9 + 30)]
    for step in range(30):
        chosen = generator.permutation(60)[: generator.integers(1, 20)].tolist()
        match generator.choice(["upsert"] * 4 + ["delete"] * 3 + ["optimize", "purge", "replace"]):
            case "upsert":
                moved = [names[(i + step) % 60] for i in chosen]
                given = [
                    VectorRecord(names[i].id, one.sighting, one.vehicle, one.camera, one.type, one.time)
                    for i, one in zip(chosen, moved, strict=True)
                ]
                writer.upsert(given, vectors(len(given), seed=100 * seed + step))
            case "delete":
                writer.delete([names[i].id for i in chosen])
            case "optimize":
                writer.optimize()
            case "purge":
                writer.purge()
            case "replace":
                writer.replace([([names[i] for i in chosen], vectors(len(chosen), seed=step))])
        queries = vectors(5, seed=1000 + step)
        stored = everything(writer)
        for where in filters:
            found = reader.search(queries, top_k=4, where=where)
            assert found == open_store(tmp_path / "store", **MODEL).search(queries, top_k=4, where=where)
            assert found == [reader.search(query[None], top_k=4, where=where)[0] for query in queries]
            for hit in (hit for hits in found for hit in hits):
                assert stored[hit.record.id][0] == hit.record
        assert len(reader.search(queries[:1], top_k=100)[0]) == len(stored)


def test_a_table_of_an_earlier_release_is_read_again_after_each_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    monkeypatch.setattr("reid_lightning.search.stores.lance_table.KEEPING_ROWS", {})
    monkeypatch.setattr("reid_lightning.search.stores.lance_search.keeps_rows", lambda schema: False)
    writer, reader = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    for part in range(3):
        writer.upsert(records(30)[10 * part : 10 * part + 10], vectors(30)[10 * part : 10 * part + 10])
        assert read_by_search(reader, read) == 10 * part + 10
    writer.delete([records(1)[0].id])
    writer.optimize()
    assert len(reader.search(vectors(1), top_k=100)[0]) == 29
    monkeypatch.undo()
    open_store(tmp_path / "store", **MODEL).purge()  # which makes it one of this release
    assert len(reader.search(vectors(1), top_k=100)[0]) == 29


def test_what_does_not_fit_into_memory_is_searched_in_the_files(tmp_path: Path, read: list[int]) -> None:
    store = open_store(tmp_path / "store", **MODEL, memory=1)
    fit = (1 << 20) // (2 * DIM + exact.ROW_BYTES)
    store.upsert(records(fit), vectors(fit))
    queries = vectors(3, seed=1)
    assert read_by_search(store, read) == fit
    in_memory = store.search(queries, top_k=5)
    assert read_by_search(open_store(tmp_path / "store", **MODEL, memory=0), read) == 0
    store.upsert(records(1, prefix="more"), -vectors(1))
    assert read_by_search(store, read) == 0
    for indexed in (False, True):
        if indexed:
            store.optimize()
        for query, hits in zip(queries, in_memory, strict=True):
            ((*found,),) = store.search(query[None], top_k=5)
            assert [hit.record for hit in found] == [hit.record for hit in hits]
    with pytest.raises(ReIDError, match="memory is -1"):
        open_store(tmp_path / "store", **MODEL, memory=-1)


def test_the_first_searches_of_a_large_store_read_no_copy(tmp_path: Path, read: list[int], monkeypatch) -> None:
    monkeypatch.setattr(lance_search, "EXACT_UP_TO", 300)
    monkeypatch.setattr(lance_search, "_PAYS", 4)
    store = open_store(tmp_path / "store", **MODEL)
    store.upsert(records(600), vectors(600))
    queries = vectors(4, seed=1)
    exactly = store.search(queries, top_k=5)
    assert read_by_search(open_store(tmp_path / "store", **MODEL), read) == 600  # nothing else would be faster
    store.optimize()

    new = open_store(tmp_path / "store", **MODEL)
    for query, hits in list(zip(queries, exactly, strict=True))[:3]:
        read.clear()
        ((*found,),) = new.search(query[None], top_k=5)
        assert [hit.record for hit in found] == [hit.record for hit in hits] and not read
    assert read_by_search(new, read) == 600 and read_by_search(new, read) == 0
    read.clear()
    assert open_store(tmp_path / "store", **MODEL).search(queries, top_k=5) == exactly and sum(read) == 600

    store.upsert(records(100, prefix="more"), vectors(100, seed=2))  # and in no index yet
    assert read_by_search(open_store(tmp_path / "store", **MODEL), read) == 700
    store.optimize()
    assert read_by_search(open_store(tmp_path / "store", **MODEL), read) == 0


def test_a_search_in_another_thread_sees_one_version(tmp_path: Path) -> None:
    """Each write replaces all vectors by those of the next number."""
    writer, reader = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    names, ended, failed = records(20), threading.Event(), []

    def write(number: int) -> None:
        changed = [VectorRecord(one.id, one.sighting, f"V{number}", "c", "car") for one in names]
        writer.upsert(changed, vectors(20, seed=number))

    def search() -> None:
        try:
            while not ended.is_set():
                (hits,) = reader.search(vectors(1), top_k=30)
                if len(hits) != 20 or len({hit.record.vehicle for hit in hits}) != 1:
                    failed.append(hits)
        except ReIDError as error:
            failed.append(error)

    write(0)
    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 15):
        write(number)
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == []
