"""Pictures, folders, videos and addresses as frames; what cannot be read is one clear error, damage a warning."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reid_lightning.errors import ReIDError
from reid_lightning.search.video import video_source
from reid_lightning.search.video.sources import open_source

RATE, COUNT = 10, 30


def draw(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Red for the left half; the number of the frame as the grey of the right one."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2, 0] = 255
    picture[:, size[0] // 2 :] = 7 * (number % COUNT) + 20
    return picture


def write_video(path: Path, *, count: int = COUNT, times: list[int] | None = None, **container: object) -> Path:
    """A small video at 10 frames a second; `times` are in 1/1000 s."""
    with av.open(str(path), "w", options=container.pop("options", {})) as out:
        out.metadata.update(container)
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
        stream.bit_rate = 2_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts = times[number] if times else 100 * number
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", creation_time="2024-05-06T07:08:09Z")


def grey(picture: np.ndarray) -> int:
    """The number that `draw` wrote."""
    return round((float(picture[10:-10, -20:-4].mean()) - 20) / 7)


def test_a_video_gives_all_its_frames_upright_and_in_rgb(video: Path):
    with open_source(video) as source:
        assert (source.name, source.kind, source.length, source.frames_per_second) == ("clip.mp4", "video", COUNT, RATE)
        assert source.start == 1714979289.0  # date -u -d 2024-05-06T07:08:09Z +%s
        frames = list(source)
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert [grey(frame.picture) for frame in frames] == list(range(COUNT))
    assert [frame.seconds for frame in frames] == pytest.approx([number / RATE for number in range(COUNT)])
    assert frames[0].picture.shape == (48, 64, 3) and frames[0].picture.dtype == np.uint8
    red = frames[0].picture[10:-10, 4:28].reshape(-1, 3).mean(axis=0)
    assert red[0] > 200 and red[1] < 40 and red[2] < 40
    assert source.warning is None


@pytest.mark.parametrize("every", [2, 7, 100])
def test_every_nth_frame_keeps_its_number(video: Path, every: int):
    with open_source(video, every=every) as source:
        frames = list(source)
        assert source.length == len(frames) == -(-COUNT // every)
    assert [frame.number for frame in frames] == list(range(0, COUNT, every))
    assert [grey(frame.picture) for frame in frames] == list(range(0, COUNT, every))


def test_seconds_follow_the_time_stamps_where_the_rate_varies(tmp_path: Path):
    times = [0, 40, 500, 540, 2000]
    with open_source(write_video(tmp_path / "clip.mkv", count=5, times=times)) as source:
        assert [frame.seconds for frame in source] == pytest.approx([time / 1000 for time in times])
        assert source.start is None


@pytest.mark.parametrize(
    "stamps",
    [(0, 100, 100, 100, -4300, -4200), (None, None, None, 0, 100, 200), (None, 100, None, None, 400, None)],
)
def test_seconds_go_on_where_a_cameras_clock_stands_still_is_put_back_or_missing(video: Path, stamps: tuple):
    """As in some cameras' streams; no container would take such time stamps."""
    frames = []
    for stamp in stamps:
        frame = av.VideoFrame.from_ndarray(draw(0), format="rgb24")
        frame.pts, frame.time_base = stamp, Fraction(1, 1000)
        frames.append(frame)
    with open_source(video) as source:
        source._frames = frames
        assert [frame.seconds for frame in source] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_a_video_on_its_side_is_turned(video: Path, tmp_path: Path):
    """A telephone held upright writes wide frames and a matrix that says: turn them clockwise."""
    content = bytearray(video.read_bytes())
    plain = b"".join(number.to_bytes(4, "big", signed=True) for number in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    turned = b"".join(
        number.to_bytes(4, "big", signed=True) for number in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    )
    place = content.index(plain, content.index(b"tkhd"))
    content[place : place + len(plain)] = turned
    (tmp_path / "turned.mp4").write_bytes(content)
    with open_source(tmp_path / "turned.mp4") as source:
        picture = next(iter(source)).picture
    assert picture.shape == (64, 48, 3)
    assert picture[4:28, :, 0].mean() > 200 and picture[36:, :, 0].mean() < 60  # what was left is on top


def test_a_video_that_was_cut_off_gives_what_is_there_and_a_warning(tmp_path: Path):
    whole = write_video(tmp_path / "whole.mp4", options={"movflags": "faststart"}).read_bytes()
    cut = tmp_path / "cut.mp4"
    pictures = whole.index(b"mdat")
    cut.write_bytes(whole[: (pictures + len(whole)) // 2])
    with open_source(cut) as source:
        numbers = [frame.number for frame in source]
    assert 0 < len(numbers) < COUNT and numbers == list(range(len(numbers)))
    assert f"cut.mp4 is damaged after frame {numbers[-1]} ({numbers[-1] / RATE:.1f} s)" in source.warning


def test_a_video_without_its_promised_end_is_a_warning_where_the_container_names_a_duration(tmp_path: Path):
    whole = write_video(tmp_path / "whole.mkv", count=40, times=[500 * number for number in range(40)]).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    with open_source(tmp_path / "cut.mkv") as source:
        last = [frame.number for frame in source][-1]
    assert last < 39 and f"frame {last} (" in source.warning


def test_a_trimmed_recording_is_whole_and_one_that_was_cut_off_as_well_is_not(tmp_path: Path):
    """An edit list shows 1.8 s from 0.9 s on: four frames after a key frame are decoded and not shown."""
    content = bytearray(write_video(tmp_path / "v.mp4", options={"movflags": "faststart"}).read_bytes())
    at, header = content.index(b"elst") + 12, content.index(b"mdhd") + 16
    rate = int.from_bytes(content[header : header + 4], "big")
    content[at : at + 8] = (1800).to_bytes(4, "big") + (rate * 9 // 10).to_bytes(4, "big")
    (tmp_path / "trim.mp4").write_bytes(content)
    with open_source(tmp_path / "trim.mp4") as source:
        assert source.length == 18 and [grey(frame.picture) for frame in source] == list(range(9, 27))
        assert source.warning is None
    (tmp_path / "cut.mp4").write_bytes(content[: (content.index(b"mdat") + len(content)) // 2])
    with open_source(tmp_path / "cut.mp4") as source:
        assert 0 < len(list(source)) < 15
    assert "cut.mp4 is damaged after frame" in source.warning


def test_a_clock_that_starts_late_promises_no_longer_video(tmp_path: Path):
    """As `-output_ts_offset 3600` writes: the container's duration is when the last frame ends."""
    times = [3_600_000 + 100 * number for number in range(COUNT)]
    whole = write_video(tmp_path / "late.mkv", times=times).read_bytes()
    with open_source(tmp_path / "late.mkv") as source:
        assert source.length == COUNT and len(list(source)) == COUNT and source.warning is None
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 10])
    with open_source(tmp_path / "cut.mkv") as source:
        assert 0 < len(list(source)) < 10
    assert "promised 3.0 s" in source.warning


@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4", "list.m3u8", "letters.txt"])
def test_no_video_at_all_is_an_error(tmp_path: Path, video: Path, name: str):
    texts = {"empty.mp4": "", "list.m3u8": f"#EXTM3U\n#EXTINF:3,\n{video}\n"}
    (tmp_path / name).write_text(texts.get(name, "no video, but words " * 50))
    with pytest.raises(ReIDError, match=f"{name} is neither a picture nor a video"):
        open_source(tmp_path / name)


def test_a_video_without_a_frame_is_an_error(tmp_path: Path, video: Path):
    content = bytearray(video.read_bytes())
    start, size = content.index(b"mdat") + 4, int.from_bytes(content[content.index(b"mdat") - 4 :][:4], "big") - 8
    content[start : start + size] = bytes(size)
    (tmp_path / "blank.mp4").write_bytes(content)
    with pytest.raises(ReIDError, match="not a single frame"):
        open_source(tmp_path / "blank.mp4")


def test_sound_alone_is_no_video(tmp_path: Path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode())
    with pytest.raises(ReIDError, match="holds no video"):
        open_source(tmp_path / "sound.mp4")


def test_frames_too_large_to_be_true_are_refused(video: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video_source, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ReIDError, match=r"64x48|frames of 0\.003071 megapixels at most"):
        open_source(video)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "nowhere.mp4"}, "^nowhere.mp4 does not exist"),
        ({"source": "rtsp:/admin:pw@camera/1"}, "^rtsp:/camera/1 does not exist"),
        ({"source": "ftp://camera/clip.mp4"}, "rtsp://, rtsps://, http://, https://"),
        ({"source": ".", "every": 0}, "every is 0"),
        ({"source": ".", "timeout": 0}, "timeout is 0"),
    ],
)
def test_what_cannot_be_opened_is_named(arguments: dict, message: str):
    with pytest.raises(ReIDError, match=message):
        open_source(**arguments)


def test_a_camera_that_does_not_answer_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/camera"
        with pytest.raises(ReIDError, match=r"^http://127.*cannot be opened within 0\.3 s"):
            open_source(address.replace("//", "//user:pass@word@"), timeout=0.3)  # and no password in any log


def test_a_picture_is_one_upright_frame(tmp_path: Path):
    path = tmp_path / "car.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    Image.fromarray(draw(0)).save(path, exif=exif)
    with open_source(path) as source:
        assert (source.kind, source.name, source.length, source.start) == ("picture", "car.jpg", 1, None)
        [frame] = source
    assert frame.picture.shape == (64, 48, 3) and frame.path == path and frame.number == 0
    assert frame.picture[:20, :, 0].mean() > 200


def test_a_folder_gives_its_pictures_in_order_and_no_hidden_ones(tmp_path: Path):
    for name in ("b/2.png", "a.png", "b/1.JPG", ".hidden.png", ".cache/3.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(draw(0)).save(tmp_path / name, format="PNG")
    with open_source(tmp_path) as source:
        assert (source.kind, source.name, source.length) == ("folder", tmp_path.name, 3)
        frames = list(source)
    assert [(frame.number, frame.path.relative_to(tmp_path).as_posix()) for frame in frames] == [
        (0, "a.png"),
        (1, "b/1.JPG"),
        (2, "b/2.png"),
    ]
    assert [frame.number for frame in open_source(tmp_path, every=2)] == [0, 2]


def test_bad_pictures_of_a_folder_are_left_out_and_named(tmp_path: Path):
    Image.fromarray(draw(0)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    source = open_source(tmp_path)
    assert [frame.number for frame in source] == [0]
    assert "1 of the 2 pictures" in source.warning and "b.png" in source.warning
    (tmp_path / "a.png").unlink()
    with pytest.raises(ReIDError, match="No picture of the 1 in"):
        list(open_source(tmp_path))
    with pytest.raises(ReIDError, match=r"b\.png cannot be read"):
        open_source(tmp_path / "b.png")


def test_a_folder_without_a_picture_is_an_error(tmp_path: Path, video: Path):
    (tmp_path / "clip.mp4").write_bytes(video.read_bytes())
    with pytest.raises(ReIDError, match="holds no picture"):
        open_source(tmp_path)


def test_fingerprints_follow_the_bytes(video: Path, tmp_path: Path):
    same = tmp_path / "same.mp4"
    same.write_bytes(video.read_bytes())
    assert open_source(same).fingerprint == open_source(video).fingerprint
    same.write_bytes(video.read_bytes() + b"\0")
    assert open_source(same).fingerprint != open_source(video).fingerprint
    assert len(open_source(same).fingerprint) == 16 and int(open_source(same).fingerprint, 16) > 0

    folder = tmp_path / "folder"
    folder.mkdir()
    Image.fromarray(draw(0)).save(folder / "a.png")
    first = open_source(folder).fingerprint
    assert open_source(folder).fingerprint == first
    (folder / "a.png").rename(folder / "b.png")
    assert open_source(folder).fingerprint != first


def test_an_hour_is_not_held_in_memory(tmp_path: Path):
    """What was handed out belongs to the caller alone."""
    import weakref

    with open_source(write_video(tmp_path / "clip.mp4", count=10)) as source:
        seen = [weakref.ref(frame.picture) for frame in source]
        assert sum(one() is not None for one in seen) <= 1


def test_a_name_with_a_colon_is_no_protocol(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("2026-01-01T08:00:00.mp4").write_bytes(video.read_bytes())
    with open_source("2026-01-01T08:00:00.mp4") as source:
        assert (source.name, source.kind, source.length) == ("2026-01-01T08:00:00.mp4", "video", COUNT)
        assert source.fingerprint == open_source(video).fingerprint


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
