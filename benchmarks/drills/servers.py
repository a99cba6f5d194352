"""Where the stores of a drill are: a folder, or a server that is started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.milvus_server import MilvusServer
from benchmarks.postgres_server import PostgresServer


class Server(Protocol):
    """At `uri`, before and after it is killed and started again."""

    uri: str

    def kill(self) -> None: ...

    def start(self) -> None: ...


@contextmanager
def store_place(kind: str, root: Path) -> Iterator[tuple[str, Server | None]]:
    """The URI of a new store, `lance`, `postgres` or `milvus`, for the gallery `root`; and its server."""
    if kind == "postgres":
        postgres = PostgresServer()
        try:
            yield postgres.uri, postgres
        finally:
            postgres.remove()
    elif kind == "milvus":
        data = root.with_name(f"{root.name}_milvus")
        data.mkdir(parents=True)
        milvus = MilvusServer(data)
        try:
            yield milvus.uri, milvus
        finally:
            milvus.kill()
    else:
        yield str(root / ".index"), None
