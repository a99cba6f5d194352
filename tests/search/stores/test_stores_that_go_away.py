"""A folder that goes away or is damaged, a server that is down or goes down: one error each."""

from __future__ import annotations

import re
import shutil
import socket
import threading
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from toy_run import free_port
from toy_vectors import MODEL, Server, records, vectors

from reid_lightning.errors import ReIDError
from reid_lightning.search.stores.opening import open_store


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


@pytest.mark.parametrize(("package", "scheme"), [("pymilvus", "http"), ("psycopg", "postgresql")])
def test_a_server_that_is_down_is_one_error_soon_without_the_password(package: str, scheme: str) -> None:
    pytest.importorskip(package)
    uri, token = f"{scheme}://u:s3cret@127.0.0.1:{free_port()}/x", "t0ken"  # not on a line that a traceback shows
    with pytest.raises(ReIDError, match="cannot be reached") as raised:
        open_store(uri, **MODEL, token=token)
    assert not re.search("s3cret|t0ken", "".join(traceback.format_exception(raised.value)))


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


def test_a_server_that_goes_away_in_the_middle_is_one_error(server: Server) -> None:
    line = Line(int(re.search(r":(\d+)(/|$)", server.uri)[1]))
    store = open_store(re.sub(r":\d+(?=/|$)", f":{line.port}", server.uri), **MODEL, name="cut")
    store.upsert(records(3), vectors(3))
    line.cut()
    with pytest.raises(ReIDError, match=r"cannot be (read|reached)"):
        store.search(vectors(1), top_k=1)
    with pytest.raises(ReIDError, match=r"cannot be (written|reached)"):
        store.upsert(records(3), vectors(3))
    known = open_store(server.uri, **MODEL, name="cut")
    assert known.count() == 3
    known.drop()


def test_a_store_goes_on_after_its_server_was_killed_and_started_again(server: Server) -> None:
    store = open_store(server.uri, **MODEL, name="restarted")
    store.upsert(records(3), vectors(3))
    server.restart()
    assert [hit.record for hit in store.search(vectors(1), top_k=1)[0]] == records(1)
    store.upsert(records(5), vectors(5))
    assert store.count() == 5
    store.drop()
