"""Several who write, rebuild and read at once, and one that is killed: nothing is lost or doubled."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toy_run import child, exit_codes
from toy_vectors import DIM, MODEL, Open, Server, everything, records, vectors

from benchmarks.milvus_server import MilvusServer
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import VectorRecord
from reid_lightning.search.stores import lance
from reid_lightning.search.stores.base import read_whole
from reid_lightning.search.stores.lance_folder import TableFolder
from reid_lightning.search.stores.opening import open_store


def _batch(process: int, number: int) -> tuple[list[VectorRecord], np.ndarray]:
    """Three records of a process's own, and four that all processes write."""
    given = [*records(3, prefix=f"p{process}-{number}-"), *records(4, prefix="shared")]
    return given, vectors(len(given), seed=process)


def _write_on(place: dict[str, str], acknowledged: str) -> None:
    """Write batches as process 1 until killed, and say which are written."""
    store = open_store(place["uri"], **MODEL, name=place["name"])
    for number in itertools.count():
        store.upsert(*_batch(1, number))
        with open(acknowledged, "a") as file:
            file.write(f"{number}\n")


def test_of_processes_that_write_at_once_and_one_that_is_killed_nothing_is_lost_or_doubled(
    opened: Open, tmp_path: Path
) -> None:
    store = opened()
    log = tmp_path / "acknowledged"
    process = child(partial(_write_on, opened.place, str(log)))  # one is enough: the other one is this one
    while process.is_alive() and not log.exists():
        time.sleep(0.01)
    own = 0
    while process.is_alive() and (own < 8 or log.read_text().count("\n") < 8):
        store.upsert(*_batch(0, own))
        own += 1
        for hits in store.search(vectors(2), top_k=5):
            assert len({hit.record.id for hit in hits}) == len(hits)
    process.kill()
    assert exit_codes(process) == [-signal.SIGKILL]
    written = [int(line) for line in log.read_text().splitlines()]
    done = [(0, number) for number in range(own)] + [(1, number) for number in written]
    acknowledged = {one.id for pair in done for one in _batch(*pair)[0]}
    in_flight = {one.id for one in _batch(1, written[-1] + 1)[0]} - acknowledged
    reopened = opened()
    found = set(everything(reopened))
    assert acknowledged <= found and found - acknowledged in (set(), in_flight)
    assert store.count() == reopened.count() == len(found)
    reopened.upsert(records(2), vectors(2))
    assert store.count() == len(found) + 2


@pytest.mark.slow
def test_a_server_that_is_killed_while_it_is_written_to_has_lost_nothing_when_it_is_up_again(
    server: Server, tmp_path: Path
) -> None:
    place = {"uri": server.uri, "name": "killed"}
    log = tmp_path / "acknowledged"
    process = child(partial(_write_on, place, str(log)))
    while process.is_alive() and (not log.exists() or log.read_text().count("\n") < 20):
        time.sleep(0.01)
    server.kill()
    assert exit_codes(process) == [1]  # the one error of a store that is down
    server.start()
    written = [int(line) for line in log.read_text().splitlines()]
    acknowledged = {one.id for number in written for one in _batch(1, number)[0]}
    in_flight = {one.id for one in _batch(1, written[-1] + 1)[0]} - acknowledged
    store = open_store(**place, fingerprint=MODEL["fingerprint"], dim=DIM)
    found = set(everything(store))
    assert acknowledged <= found and found - acknowledged in (set(), in_flight)
    assert store.count() == len(found)
    store.drop()


def test_writing_during_rebuilds_succeeds(opened: Open) -> None:
    camera, keeper = opened(), opened()
    ended, failed = threading.Event(), []

    def write() -> None:
        try:
            while not ended.is_set():
                camera.upsert(records(1, prefix="camera"), vectors(1))
        except ReIDError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for _ in range(5):
        keeper.replace([(records(5), vectors(5))])
    ended.set()
    thread.join()
    assert failed == []
    camera.upsert(records(1, prefix="camera"), vectors(1))
    assert keeper.count() == 6


def test_a_store_made_anew_while_it_is_read_is_read_from_the_beginning(tmp_path: Path) -> None:
    reader, keeper = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    for number in range(40):  # a file each: more than are read in advance
        reader.upsert(records(1, prefix=f"old{number}"), vectors(1))
    starts = []

    def scan_slowly() -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
        starts.append(True)
        for part in reader.scan():
            yield part
            if len(starts) == 1:
                keeper.replace([(records(5, prefix="new"), vectors(5))])

    read = [record.id for part, _ in read_whole(scan_slowly) for record in part]
    assert sorted(read) == sorted(record.id for record in records(5, prefix="new"))
    assert len(starts) == 2


@pytest.mark.parametrize("change", ["upsert", "delete"])
def test_what_is_replaced_under_a_writer_without_locks_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """As on an object store, where no process can lock another one out."""
    camera, keeper = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    camera.upsert(records(2), vectors(2))
    monkeypatch.setattr(lance.LanceStore, "_locked", lambda store: nullcontext())
    given = {"upsert": (records(1, prefix="n"), vectors(1)), "delete": ([records(2)[1].id],)}[change]
    name = {"upsert": "to_table", "delete": "one_of"}[change]
    prepare, replaced = getattr(lance, name), []

    def prepare_slowly(*values: object) -> object:
        if not replaced:
            replaced.append(True)
            keeper.replace([(records(3), vectors(3))])
        return prepare(*values)

    monkeypatch.setattr(lance, name, prepare_slowly)
    getattr(camera, change)(*given)
    kept = {one.id for one in records(3)}
    assert set(everything(keeper)) == (kept | {"n0000-0"} if change == "upsert" else kept - {records(2)[1].id})


@pytest.mark.parametrize("use", ["search", "upsert", "delete", "count"])
@pytest.mark.parametrize("versions", [1, 4])
def test_a_table_that_took_the_place_with_the_same_inodes_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: str, versions: int
) -> None:
    """Of two rebuilds in a row the second one gets the inodes that the first one has freed."""
    monkeypatch.setattr(TableFolder, "identity", lambda place: (1, 2) if place.exists() else None)
    camera, keeper = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
    for number in range(3):
        camera.upsert(records(1, prefix=f"old{number}"), vectors(1))
    assert camera.search(vectors(1), top_k=9)
    keeper.replace([(records(3), vectors(3))])
    for number in range(versions - 1):
        keeper.upsert(records(1, prefix=f"new{number}"), vectors(1))
    left = set(everything(open_store(tmp_path / "store", **MODEL)))
    match use:
        case "search":
            assert {hit.record.id for hit in camera.search(vectors(1), top_k=9)[0]} == left
        case "upsert":
            camera.upsert(records(1, prefix="camera"), vectors(1))
            assert set(everything(keeper)) == {*left, "camera0000-0"}
        case "delete":
            camera.delete([records(1)[0].id])
            assert set(everything(keeper)) == left - {records(1)[0].id}
        case "count":
            assert camera.count() == len(left)


@pytest.mark.slow
def test_an_answer_of_a_collection_that_is_being_dropped_is_asked_for_again(
    milvus_server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Milvus server answers such a search without an error and without a hit."""
    place = {**MODEL, "name": "asked_again"}
    store, other = (open_store(milvus_server.uri, **place) for _ in range(2))
    store.upsert(records(4), vectors(4))
    search, answers = store._client.search, [[[]]]

    def late(collection: str, **options: object) -> object:
        if answers:
            other.replace([(records(4), vectors(4))])
            return answers.pop()
        return search(collection, **options)

    monkeypatch.setattr(store._client, "search", late)
    [hits] = store.search(vectors(4)[:1], top_k=4)
    assert {hit.record for hit in hits} == {*records(4)}
    store.drop()
