"""What a camera or a server may do to whoever asks it: it cannot send this program elsewhere, nor keep it for ever."""

from __future__ import annotations

import base64
import io
import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest
from PIL import Image

from reid_lightning.errors import ReIDError
from reid_lightning.search.video import video_source
from reid_lightning.search.video.sources import check_source, open_source
from reid_lightning.search.video.video_addresses import as_url

COUNT = 8
TEXT = b"AWS_SECRET=abcdef\n" * 40


def clip(*, seconds_of_sound: float = 0.0) -> bytes:
    """An MPEG transport stream."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("mpeg2video", rate=10, width=64, height=48, pix_fmt="yuv420p")
        sound = out.add_stream("mp2", rate=16000, layout="mono") if seconds_of_sound else None
        for number in range(COUNT):
            picture = np.full((48, 64, 3), 20 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
        for number in range(round(seconds_of_sound * 16000 / 576)):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 576), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 16000, 576 * number
            out.mux(sound.encode(samples))
    return file.getvalue()


CLIP = clip()


class Server(ThreadingHTTPServer):
    """Gives what is in `answers` (bytes, or parts without an end) or sends on by `redirects`; notes who asked what.
    Only `user` (name:password) gets anything, if that is said."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Iterable[bytes]] = {"/clip.ts": CLIP}
        self.redirects: dict[str, str] = {}
        self.asked: list[str] = []
        self.user: str | None = None
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.user is not None:
            expected = "Basic " + base64.b64encode(self.server.user.encode()).decode()
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        path = self.path.partition("?")[0]
        target, answer = self.server.redirects.get(path), self.server.answers.get(path)
        self.send_response(302 if target else 200 if answer is not None else 404)
        if target:
            self.send_header("Location", target)
        if isinstance(answer, bytes):
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with suppress(OSError):  # nobody listens any more
            for part in [answer] if isinstance(answer, bytes) else answer or ():
                self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def camera() -> Iterator[Server]:
    with running(server := Server()):
        yield server


@pytest.fixture
def internal() -> Iterator[Server]:
    """What the camera cannot reach, and this machine can."""
    with running(server := Server()):
        yield server


def count(address: str, **options: object) -> int:
    with open_source(address, timeout=5.0, **options) as source:
        return sum(1 for _ in source)


@pytest.mark.parametrize("password", ["Geh#im77", "a/b?c#d", "密码", "50%off", "a@b c"])
def test_a_password_may_hold_what_ends_a_host(camera, password):
    camera.user = f"admin:{password}"
    assert count(camera.address.replace("//", f"//admin:{password}@") + "/clip.ts") == COUNT


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("rtsp://u:a?b@host:554/x?channel=1", "rtsp://u:a%3Fb@host:554/x?channel=1"),
        ("RTSP://U:A@Host/X", "rtsp://U:A@Host/X"),
        ("HTTP://Host/X", "http://Host/X"),
        ("rtsp://u:77#x@host/cam@2", "rtsp://u:77%23x@host/cam@2"),
        ("rtsp://u:a%23b@host/x", "rtsp://u:a%23b@host/x"),
        *(
            (plain, plain)
            for plain in (
                "http://host/x",
                "http://host:/x",
                "http://host:80/cam@2",
                "http://[::1]:80/a@b",
                "http://h?a=b@c",
            )
        ),
    ],
)
def test_an_address_stays_what_it_is_but_for_its_password(typed, url):
    assert as_url(typed) == url


@pytest.mark.parametrize(
    ("address", "shown", "reason"),
    [
        ("rtsp://127.0.0.1:99999/x", "rtsp://127.0.0.1:99999/x", "port no number from 1 to 65535"),
        ("rtsp://u:geheim@127.0.0.1:0/x", "rtsp://127.0.0.1:0/x", "no port is 0"),
        ("rtsp://admin:geheim", "rtsp://***", "port no number"),
        ("http://admin:geheim/x", "http://***/x", "port no number"),
        ("http://[::1/", "http://***/", "host is no name or number"),
        ("https://u:geheim@", "https://", "names no host"),
        ("HTTP:///x", "HTTP:///x", "names no host"),
    ],
)
def test_what_is_no_address_is_said_before_anybody_is_asked(monkeypatch, address, shown, reason):
    monkeypatch.setattr(av, "open", None)
    for read in (open_source, check_source):
        with pytest.raises(ReIDError, match=rf"^{re.escape(shown)} is no address: .*{reason}") as raised:
            read(address)
        assert "geheim" not in str(raised.value)


def test_letters_of_a_scheme_may_be_capitals(camera):
    assert count(camera.address.replace("http", "HTTP") + "/clip.ts") == COUNT


def test_a_camera_cannot_send_this_program_elsewhere(camera, internal):
    camera.redirects = {"/video": f"{internal.address}/clip.ts?token=abc", "/file": "file:///etc/passwd"}
    with pytest.raises(
        ReIDError, match=r"sends whoever asks to http.*token=\*\*\*, which is not followed.*allow_redirects"
    ):
        open_source(f"{camera.address.replace('//', '//user:word@')}/video")
    with pytest.raises(ReIDError, match="sends whoever asks to file:///etc/passwd, which is not followed"):
        open_source(f"{camera.address}/file")
    assert internal.asked == []
    assert count(f"{camera.address}/video", allow_redirects=True) == COUNT
    assert internal.asked == ["/clip.ts?token=abc"]


def test_within_its_own_place_a_camera_is_followed(camera):
    camera.redirects = {"/": "/first", "/first": f"{camera.address}/clip.ts", "/round": "/round"}
    assert count(camera.address + "/") == COUNT
    with pytest.raises(ReIDError, match="from one address to the next, without end"):
        open_source(f"{camera.address}/round")


@pytest.mark.parametrize("allow", [False, True])
def test_text_and_lists_of_addresses_are_no_pictures(camera, internal, allow):
    """libav draws text as letters, and opens whatever a list names."""
    head, end = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n", "\n#EXT-X-ENDLIST\n"
    key = f'{head}#EXT-X-KEY:METHOD=AES-128,URI="{internal.address}/key"\n#EXTINF:9,\n/clip.ts{end}'
    local = f"{head}#EXTINF:9,\nfile:///etc/passwd{end}"
    camera.answers |= {
        "/text.txt": TEXT,
        "/list.ffconcat": b"ffconcat version 1.0\nfile 'clip.ts'\n",
        "/camera.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 45555 RTP/AVP 33\n",
        "/key.m3u8": key.encode(),
        "/local.m3u8": local.encode(),
    }
    for name in camera.answers.keys() - {"/clip.ts"}:
        with pytest.raises(ReIDError, match=rf"^{camera.address}{name} (sends text, a playlist|cannot be opened)"):
            open_source(camera.address + name, allow_redirects=allow)
    assert internal.asked == (["/key"] if allow else [])


def test_a_playlist_that_is_trusted_is_read(camera, internal):
    head, end = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n", "\n#EXT-X-ENDLIST\n"
    camera.answers["/list.m3u8"] = f"{head}{internal.address}/clip.ts{end}".encode()
    with pytest.raises(ReIDError, match=r"sends text, a playlist .*allow_redirects=true"):
        open_source(f"{camera.address}/list.m3u8")
    assert internal.asked == []
    assert count(f"{camera.address}/list.m3u8", allow_redirects=True) == COUNT


class Paced:
    """One part, and another again and again: without end for whoever waits for a second."""

    def __init__(self, first: bytes, then: bytes) -> None:
        self.first, self.then, self.ended = first, then, False

    def __iter__(self) -> Iterator[bytes]:
        yield self.first
        for _ in range(4_000):
            time.sleep(0.001)
            yield self.then
        self.ended = True


def test_sound_without_end_is_not_waited_for(camera):
    whole = clip(seconds_of_sound=4.0)
    sound = whole[-188 * 8 :]
    camera.answers["/camera"] = Paced(whole, sound)
    with open_source(f"{camera.address}/camera", timeout=1.0) as source:
        assert sum(1 for _ in source) == COUNT
    assert "nothing came in time" in source.warning


def test_what_never_becomes_a_picture_is_not_waited_for(camera, monkeypatch):
    """One JPEG after the other, and then empty ones."""
    monkeypatch.setattr(video_source, "_PATIENCE", 1)
    good = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(good, "JPEG", quality=95)
    sent = camera.answers["/camera"] = Paced(40 * good.getvalue(), b"\xff\xd8\xff\xfe\x00\x04ab\xff\xd9")
    with open_source(f"{camera.address}/camera", timeout=1.0) as source:
        assert sum(1 for _ in source) == 40
    assert not sent.ended and "is damaged after frame 39" in source.warning


class RtspCamera(socketserver.ThreadingTCPServer):
    """Answers as rtsp cameras do, with `CLIP` in RTP packets between the answers (RFC 2326, 2250), or sends whoever
    asks to `location`."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, location: str | None = None) -> None:
        self.location, self.asked = location, 0
        super().__init__(("127.0.0.1", 0), _RtspHandler)
        self.address = f"rtsp://user:word@127.0.0.1:{self.server_address[1]}/live"


class _RtspHandler(socketserver.StreamRequestHandler):
    server: RtspCamera

    def handle(self) -> None:
        self.server.asked += 1
        while line := self.rfile.readline():
            method, _, number = line.split()[0].decode(), None, 0
            while (header := self.rfile.readline().strip()) != b"":
                if header.lower().startswith(b"cseq:"):
                    number = int(header.split(b":")[1])
            body, more = "", ""
            if method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
                more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            status = "200 OK" if self.server.location is None else f"302 Moved\r\nLocation: {self.server.location}"
            self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{more}\r\n{body}".encode())
            if method == "PLAY":
                for count, start in enumerate(range(0, len(CLIP), 7 * 188)):
                    packet = struct.pack(">BBHII", 0x80, 33, count, 9000 * count, 1) + CLIP[start : start + 7 * 188]
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                return


def test_an_rtsp_camera_is_read_and_cannot_send_this_program_elsewhere():
    camera = RtspCamera()
    with running(camera), open_source(camera.address, timeout=5.0) as source:
        assert source.kind == "stream" and "word" not in source.name
        pictures = [frame.picture for frame in source]
        assert len(pictures) >= COUNT - 1 and pictures[3].shape == (48, 64, 3) and camera.asked == 1
        hostile = RtspCamera(camera.address)
        with running(hostile):
            with pytest.raises(ReIDError, match=r"^rtsp://127.*sends whoever asks to another address.*allow_redirects"):
                open_source(hostile.address, timeout=5.0)
            assert (hostile.asked, camera.asked) == (1, 1)
            open_source(hostile.address, timeout=5.0, allow_redirects=True).close()
            assert camera.asked == 2
