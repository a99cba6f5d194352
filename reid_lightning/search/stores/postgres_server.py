"""A connection to a PostgreSQL server, made again when it breaks, and the server's errors in our words."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from reid_lightning.errors import extra, first_line
from reid_lightning.redaction import MASK, without_password
from reid_lightning.search.stores.base import ReplacedStoreError, StoreError
from reid_lightning.search.stores.postgres_rows import register_vectors

with extra("postgres"):
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

T = TypeVar("T")

_SECONDS = 5  # until a server counts as gone, and for which one that is starting is waited for
_PATIENT_SECONDS = 60  # for an answer on the line, and for a lock
_TRIES = 10
_STARTING = r"starting up|shutting down|recovery mode|not yet accepting"
_BEGIN_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UndefinedTable)
_LINE: dict[str, Any] = {
    "connect_timeout": _SECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * _PATIENT_SECONDS,
    "application_name": "reid_lightning",
}
_SETTINGS = (  # JIT would compile each search anew; a rebuild waits for pictures in the middle of its transaction
    f"SET jit = off; SET lock_timeout = '{_PATIENT_SECONDS}s'; SET idle_in_transaction_session_timeout = 0"
)
_ADVICE = (
    (
        r'extension "vector"|halfvec|hnsw|extension control file',
        "The server needs the extension pgvector 0.8 or newer: install it there, and let an administrator of the "
        "database run CREATE EXTENSION vector (of an older one: ALTER EXTENSION vector UPDATE).",
    ),
    (r"password|authenti|pg_hba|role .* does not exist", "Are user and password right (stores.uri, stores.token)?"),
    (r'database ".*" does not exist', "Make the database there first: createdb."),
    (r"permission denied|must be owner|read-only", "The user of the address needs the right to write there."),
    (r"No space left|disk full|could not extend|memory", "The server has no room left for it: give it some."),
    (r"lock timeout", "Another program holds it for long; try again."),
    (
        r"checksum|invalid page|could not read block|corrupt",
        "If its data are damaged, `rebuild` makes the table again.",
    ),
    (r"too many connections|connection slots", "The server allows no more connections: raise max_connections."),
)


class PostgresServer:
    """What a store asks its server, a transaction at a time, from any thread.

    Args:
        uri: `postgresql://user@host:port/database`, as libpq takes it.
        password: for a user that needs one, unless the URI, PGPASSWORD or ~/.pgpass has it.
    """

    def __init__(self, uri: str, password: str | None) -> None:
        self.uri = without_password(uri)
        self._lock = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None
        self._secrets = [password] if password else []
        with self.errors("reached"):
            given = conninfo_to_dict(uri)
            self._secrets += [str(given["password"])] if given.get("password") else []
            more = {"password": password} if password else {}
            self._conninfo = make_conninfo("", **{**_LINE, **given, **more})

    def call(self, done: str, action: Callable[[psycopg.Cursor[Any]], T]) -> T:
        """A transaction, begun again where the connection was lost or others were in its way: `action` may be called
        several times. StoreError: the server does not do it; `done` is what was to be done with the store."""
        deadline = time.monotonic() + _SECONDS
        with self._lock, self.errors(done):
            for left in reversed(range(_TRIES)):
                connection = self._connection
                try:
                    if connection is None:
                        connection = self._connection = self._connected()
                    with connection.transaction(), connection.cursor() as cursor:
                        return action(cursor)
                except psycopg.Error as error:
                    broken = connection is not None and connection.broken
                    if broken:
                        self._connection = None
                    starting = re.search(_STARTING, str(error)) and time.monotonic() < deadline
                    if not left or not (broken or starting or isinstance(error, _BEGIN_AGAIN)):
                        raise
                    if starting:
                        time.sleep(_SECONDS / _TRIES)
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def alone(self, done: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection of one's own without a transaction, for what takes long."""
        with self.errors(done):
            connection = self._connected()
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def errors(self, done: str) -> Iterator[None]:
        """Within it whatever the server says is one `StoreError`."""
        try:
            yield
        except psycopg.Error as error:
            reason = without_password(first_line(error))
            for secret in self._secrets:
                reason = reason.replace(secret, MASK)
            advice = next((advice for words, advice in _ADVICE if re.search(words, reason)), None)
            kind = ReplacedStoreError if isinstance(error, psycopg.errors.UndefinedTable) else StoreError
            raise kind(
                f"The vector store {self.uri} cannot be {done}: {reason.rstrip('. ')}. "
                f"{advice or 'Is the server up, and is this its address?'}"
            ) from (None if self._secrets else error)

    def close(self) -> None:
        """Let go of the connection; it is made again when something is asked."""
        with self._lock, suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection[Any]:
        connection: psycopg.Connection[Any] = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        try:
            connection.execute(_SETTINGS)
            register_vectors(connection)
        except BaseException:
            connection.close()
            raise
        return connection
