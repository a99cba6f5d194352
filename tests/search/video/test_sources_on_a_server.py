"""Recordings, cameras and pictures behind an address: what they are, and whether they are known again."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path

import pytest
from PIL import Image
from toy_videos import COUNT, draw, grey, write_video

from reid_lightning.errors import ReIDError
from reid_lightning.search.video.sources import open_source


class Server(ThreadingHTTPServer):
    """Serves a folder; `/camera` gives JPEGs one after the other without end."""

    def __init__(self, root: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/camera":
                    return super().do_GET()
                self.send_response(200)
                self.end_headers()
                pictures = [io.BytesIO() for _ in range(COUNT)]
                for number, picture in enumerate(pictures):
                    Image.fromarray(draw(number)).save(picture, "JPEG")
                with suppress(ConnectionError):  # until nobody listens
                    for picture in cycle(pictures):
                        self.wfile.write(picture.getvalue())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.address = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_recording_on_a_server_is_known_again_and_a_camera_is_not(server: Server, video: Path, tmp_path: Path):
    (tmp_path / "dated.mp4").write_bytes(video.read_bytes())
    write_video(tmp_path / "plain.mp4")
    for name, start in (("dated.mp4", 1714979289.0), ("plain.mp4", None)):
        with open_source(f"{server.address}/{name}") as first:
            assert (first.kind, first.length, first.start) == ("video", COUNT, start)
            assert len(list(first)) == COUNT and first.warning is None
        with open_source(f"{server.address.replace('http://', 'HTTP://user:word@')}/{name}") as again:
            assert again.fingerprint == first.fingerprint
    write_video(tmp_path / "plain.mp4", count=COUNT - 10)
    with open_source(f"{server.address}/plain.mp4") as other:
        assert other.fingerprint != open_source(f"{server.address}/dated.mp4").fingerprint
        assert other.fingerprint != again.fingerprint  # the same address, another recording
    with open_source(f"{server.address}/camera") as first, open_source(f"{server.address}/camera") as again:
        assert first.kind == "stream" and first.start is not None and first.fingerprint != again.fingerprint
        assert [grey(frame.picture) for frame in islice(first, 3)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["car.png", "car.jpg", "car"])
def test_a_picture_on_a_server_is_a_picture(server: Server, tmp_path: Path, name: str):
    Image.fromarray(draw(3)).save(tmp_path / name, "PNG" if name == "car.png" else "JPEG")
    with open_source(f"{server.address}/{name}") as source:
        assert (source.kind, source.length, source.frames_per_second, source.start) == ("picture", 1, None, None)
        (frame,) = source
    assert frame.number == 0 and frame.picture.shape == (48, 64, 3) and grey(frame.picture) == 3
    with open_source(f"{server.address}/{name}") as again:
        assert again.fingerprint == source.fingerprint
    Image.fromarray(draw(9)).save(tmp_path / name, "PNG" if name == "car.png" else "JPEG")
    with open_source(f"{server.address}/{name}") as other:
        assert other.fingerprint != source.fingerprint


def test_a_camera_that_does_not_answer_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/camera"
        with pytest.raises(ReIDError, match=r"^http://127.*cannot be opened within 0\.3 s"):
            open_source(address.replace("//", "//user:pass@word@"), timeout=0.3)  # and no password in any log
