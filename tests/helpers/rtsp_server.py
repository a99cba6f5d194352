"""A real RTSP server on this machine, in a process of the system's Python, that can be killed and comes back.

`python3 rtsp_server.py <port> <clip.mp4>...` serves each clip of H.264 as `/<its name>`, from the start for
everyone who connects, at its own pace.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SYSTEM_PYTHON = "/usr/bin/python3"
_NEEDS = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer\n"
    "Gst.init(None)\n"
    "assert all(map(Gst.ElementFactory.find, ('qtdemux', 'h264parse', 'rtph264pay')))"
)


def is_installed() -> bool:
    """Whether this machine has GStreamer's RTSP server."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", _NEEDS], capture_output=True).returncode == 0


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class RtspServer:
    """Serves clips below `address`."""

    def __init__(self, clips: Sequence[Path], port: int | None = None) -> None:
        self._clips, self.port = clips, port or free_port()
        self.address = f"rtsp://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self, *, patience: float = 30.0) -> None:
        """Returns when it listens."""
        command = [SYSTEM_PYTHON, __file__, str(self.port), *map(str, self._clips)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise RuntimeError("the RTSP server did not start")

    def kill(self) -> None:
        """As when somebody pulls the plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def serve(port: str, *clips: str) -> None:
    """Never returns."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for clip in clips:
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(
            f'( filesrc location="{clip}" ! qtdemux ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )'
        )
        factory.set_shared(False)
        server.get_mount_points().add_factory(f"/{Path(clip).stem}", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
