"""One contract for all vector stores: what is written is found again, exactly, by everybody, whoever was killed."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toy_run import child, exit_codes, free_port
from toy_vectors import DIM, MODEL, records, vectors

from benchmarks.milvus_server import MilvusServer, milvus_executable
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores import lance
from reid_lightning.search.stores.base import VectorStore, read_whole
from reid_lightning.search.stores.opening import open_store

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

Open = Callable[..., VectorStore]


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of this session on loopback."""
    if milvus_executable() is None:
        pytest.skip("milvus-server (PyPI package milvus) is not installed")
    folder = tmp_path_factory.mktemp("milvus")
    server = MilvusServer(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["lance", pytest.param("milvus", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same, at first empty store every time."""
    stores: list[VectorStore] = []
    uri = str(tmp_path / "store") if request.param == "lance" else request.getfixturevalue("milvus_server").uri
    name = f"t{abs(hash(request.node.name))}"

    def open_it(**options: object) -> VectorStore:
        stores.append(open_store(uri, **{**MODEL, "name": name, **options}))
        return stores[-1]

    open_it.place = {"uri": uri, "name": name}
    yield open_it
    open_store(uri, **MODEL, name=name, any_model=True).drop()
    for store in stores:
        store.close()


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


def everything(store: VectorStore, where: Filter | None = None) -> dict[str, tuple[VectorRecord, np.ndarray]]:
    found: dict[str, tuple[VectorRecord, np.ndarray]] = {}
    for part, rows in store.scan(*([] if where is None else [where])):
        for record, row in zip(part, rows, strict=True):
            assert record.id not in found
            found[record.id] = record, row
    return found


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


def test_another_model_is_refused_by_name(opened: Open) -> None:
    store = opened()
    store.upsert(records(2), vectors(2))
    for options in ({"fingerprint": "model-b"}, {"dim": 8}):
        with pytest.raises(ReIDError, match=r"model-a .*rebuild gallery=") as raised:
            opened(**options)
        assert str(options.get("fingerprint", "(8 numbers)")) in str(raised.value)
    known = opened(fingerprint=None, dim=None)
    assert (known.fingerprint, known.dim, known.count()) == ("model-a", DIM, 2)
    new = opened(fingerprint="model-b", dim=8, any_model=True)
    new.replace([(records(3), vectors(3, dim=8))])
    assert opened(fingerprint="model-b", dim=8).count() == 3
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        store.upsert(records(1), vectors(1))
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        store.search(vectors(1), top_k=1)


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
    milvus_server: MilvusServer, tmp_path: Path
) -> None:
    place = {"uri": milvus_server.uri, "name": "killed"}
    log = tmp_path / "acknowledged"
    process = child(partial(_write_on, place, str(log)))
    while process.is_alive() and (not log.exists() or log.read_text().count("\n") < 20):
        time.sleep(0.01)
    milvus_server.kill()
    assert exit_codes(process) == [1]  # the one error of a store that is down
    milvus_server.start()
    written = [int(line) for line in log.read_text().splitlines()]
    acknowledged = {one.id for number in written for one in _batch(1, number)[0]}
    in_flight = {one.id for one in _batch(1, written[-1] + 1)[0]} - acknowledged
    store = open_store(**place, fingerprint=MODEL["fingerprint"], dim=DIM)
    found = set(everything(store))
    assert acknowledged <= found and found - acknowledged in (set(), in_flight)
    assert store.count() == len(found)
    store.drop()


def test_writing_during_rebuilds_succeeds(tmp_path: Path) -> None:
    camera, keeper = (open_store(tmp_path / "store", **MODEL) for _ in range(2))
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


def test_dropped_is_gone(opened: Open) -> None:
    opened().upsert(records(2), vectors(2))
    opened().drop()
    for options in ({"fingerprint": None, "dim": None}, {"create": False}):
        with pytest.raises(ReIDError, match=r"no vectors at .*gallery sync gallery="):
            opened(**options)
    assert opened().count() == opened(create=False).count() == 0


def test_an_empty_store_becomes_that_of_the_model_that_asks(opened: Open) -> None:
    old = opened()
    with pytest.raises(ReIDError, match="model-a"):
        opened(fingerprint="model-b", dim=8, create=False)
    new = opened(fingerprint="model-b", dim=8)
    new.upsert(records(3), vectors(3, dim=8))
    assert opened(fingerprint="model-b", dim=8).count() == 3
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        old.upsert(records(1), vectors(1))
    with pytest.raises(ReIDError, match=r"model-b .*model-a"):
        opened()


def test_a_folder_that_goes_away_is_one_error(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", **MODEL)
    store.upsert(records(2), vectors(2))
    shutil.rmtree(tmp_path / "store")
    for use in (lambda: store.search(vectors(1), top_k=1), lambda: store.upsert(records(2), vectors(2))):
        with pytest.raises(ReIDError, match="cannot be") as raised:
            use()
        assert ".rs" not in str(raised.value) and ".." not in str(raised.value)


def test_a_damaged_store_is_one_error(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store", **MODEL)
    store.upsert(records(2), vectors(2))
    for path in (tmp_path / "store").rglob("*.lance"):
        if path.is_file():
            path.write_bytes(b"damaged")
    with pytest.raises(ReIDError, match="rebuild"):
        open_store(tmp_path / "store", **MODEL).search(vectors(1), top_k=1)


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


def test_a_server_that_is_down_is_one_error_soon() -> None:
    pytest.importorskip("pymilvus")
    with pytest.raises(ReIDError, match="cannot be reached"):
        open_store(f"http://127.0.0.1:{free_port()}", **MODEL)


class Line:
    """Passes on what comes to a port of its own, until it is cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in [self._listener, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                pair = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._target))
                self._ends += pair
                for ends in (pair, pair[::-1]):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                target.sendall(part)


@pytest.mark.slow
def test_a_server_that_goes_away_in_the_middle_is_one_error(milvus_server: MilvusServer) -> None:
    line = Line(int(milvus_server.uri.rpartition(":")[2]))
    store = open_store(f"http://127.0.0.1:{line.port}", **MODEL, name="cut")
    store.upsert(records(3), vectors(3))
    line.cut()
    with pytest.raises(ReIDError, match=r"cannot be (read|reached)"):
        store.search(vectors(1), top_k=1)
    with pytest.raises(ReIDError, match=r"cannot be (written|reached)"):
        store.upsert(records(3), vectors(3))
    known = open_store(milvus_server.uri, **MODEL, name="cut")
    assert known.count() == 3
    known.drop()
