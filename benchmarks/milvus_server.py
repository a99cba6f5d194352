"""The Milvus server of the PyPI package `milvus` 2.3.5, on loopback, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.stores.opening import open_store

_PORT_SECONDS = 180  # the system keeps the port of a killed server's connections to itself for a minute
_SECONDS = 180


def milvus_executable() -> str | None:
    """Where `milvus-server` is, if it is installed."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which("milvus-server", path=places)


class MilvusServer:
    """A server with its data in `folder` that answers at `uri`, before and after a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Returns when it answers.

        Raises:
            ReIDError: it is not installed, or does not answer within three minutes.
        """
        executable = milvus_executable()
        if executable is None:
            raise ReIDError("milvus-server is not installed: pip install milvus==2.3.5.")
        self._wait_for_port()
        # without an interim index, vectors that the index does not hold yet are compared exactly
        settings = ["--extra-config", "queryNode.segcore.interimIndex.enableIndex=false"]
        command = [executable, "--data", str(self._folder), "--proxy-port", str(self._port), *settings]
        with self._folder.with_suffix(".log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                open_store(self.uri, fingerprint="first", dim=8, name="first").drop()
                return
            except ReIDError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.kill()
                    raise
                time.sleep(1)

    @property
    def pid(self) -> int:
        """Of the server itself, a child of what was started."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Killed and started again."""
        self.kill()
        self.start()

    def _wait_for_port(self) -> None:
        """`milvus-server` silently takes the next port when its own is not free."""
        deadline = time.monotonic() + _PORT_SECONDS
        while True:
            with socket.socket() as port:
                try:
                    port.bind(("127.0.0.1", self._port))
                    return
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise ReIDError(f"Port {self._port} is not free for the server: {error.strerror}.") from error
            time.sleep(1)
