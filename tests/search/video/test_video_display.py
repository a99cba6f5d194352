"""Videos as a player shows them: orientation, pixel shape, the right stream, interlacing, depth and transparency."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image

from reid_lightning.data.images.colours import BACKGROUND
from reid_lightning.errors import ReIDError
from reid_lightning.search.video import video_source
from reid_lightning.search.video.sources import open_source

WIDTH, HEIGHT = 160, 96
RED, GREY = (220, 30, 30), (90, 90, 90)
ONE = 1 << 16


def corner(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Grey, the top left corner red."""
    picture = np.full((height, width, 3), GREY, np.uint8)
    picture[: height // 4, : width // 4] = RED
    return picture


def write(
    path: Path,
    pictures: list[np.ndarray] | None = None,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    kind: str = "rgb24",
    prepare: Callable[[av.VideoStream], object] = lambda stream: None,
    first: int = 0,
) -> Path:
    """`pictures` at 10 frames a second, the first at `first` tenths of a second; `prepare` sets up the stream."""
    pictures = [corner()] * 3 if pictures is None else pictures
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        prepare(stream)
        encode(out, stream, pictures, kind=kind, first=first)
    return path


def encode(
    out: av.container.OutputContainer,
    stream: av.VideoStream,
    pictures: list[np.ndarray],
    *,
    kind: str = "rgb24",
    first: int = 0,
) -> None:
    for number, picture in enumerate(pictures, first):
        frame = av.VideoFrame.from_ndarray(picture, format=kind)
        frame.pts, frame.time_base = number, Fraction(1, 10)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def shown(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return next(iter(source)).picture


def red_corner(picture: np.ndarray) -> str:
    places = {"top left": (4, 4), "top right": (4, -5), "bottom left": (-5, 4), "bottom right": (-5, -5)}
    (red,) = [name for name, place in places.items() if picture[place][0] > 150]
    return red


@pytest.mark.parametrize(
    ("matrix", "place", "size"),
    [
        ((0, 1, -1, 0), "top right", (WIDTH, HEIGHT)),
        ((-1, 0, 0, -1), "bottom right", (HEIGHT, WIDTH)),
        ((0, -1, 1, 0), "bottom left", (WIDTH, HEIGHT)),
        ((-1, 0, 0, 1), "top right", (HEIGHT, WIDTH)),
        ((1, 0, 0, -1), "bottom left", (HEIGHT, WIDTH)),
        ((0, 1, 1, 0), "top left", (WIDTH, HEIGHT)),
        ((0, -1, -1, 0), "bottom right", (WIDTH, HEIGHT)),
        ((0, 0, 0, 0), "top left", (HEIGHT, WIDTH)),
    ],
)
def test_a_video_is_turned_and_mirrored_as_its_container_says(tmp_path, matrix, place, size):
    """Rear-view and selfie cameras write mirrors, telephones quarter turns."""
    a, b, c, d = (ONE * number for number in matrix)
    path = write(tmp_path / "v.mov", prepare=lambda one: one.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)))
    picture = shown(path)
    assert (red_corner(picture), picture.shape[:2]) == (place, size)


def test_matroska_and_angles_between_quarter_turns(tmp_path):
    """A wheel's angle is no quarter turn: the nearest one is taken, and said."""
    path = write(tmp_path / "v.mkv", prepare=lambda stream: stream.set_display_rotation(-90))
    assert red_corner(shown(path)) == "top right"
    with open_source(write(tmp_path / "v.mov", prepare=lambda stream: stream.set_display_rotation(-70))) as source:
        assert {red_corner(frame.picture) for frame in source} == {"top right"}
    assert source.warning == "v.mov is to be turned by 70 degrees, and was turned to the nearest quarter."


def test_a_camera_that_says_in_its_pictures_how_it_hangs(tmp_path):
    """H.264's display orientation, in a container that has no word for it."""
    plain = write(tmp_path / "plain.ts")
    with av.open(str(plain)) as old, av.open(str(tmp_path / "v.ts"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        turned = BitStreamFilterContext(
            "h264_metadata=display_orientation=insert:flip=horizontal", old.streams.video[0]
        )
        for packet in old.demux(video=0):
            for changed in turned.filter(packet if packet.size else None):
                changed.stream = stream
                new.mux(changed)
    with open_source(tmp_path / "v.ts") as source:
        assert [red_corner(frame.picture) for frame in source] == ["top right"] * 3


@pytest.mark.parametrize("orientation", [1, 2, 5, 6])
def test_rows_of_jpegs_are_turned_by_their_exif(tmp_path, orientation):
    """As the same JPEG is by itself. PyAV cannot name EXIF beside a frame."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner()).save(tmp_path / "one.jpg", exif=exif, quality=95)
    (tmp_path / "row.mjpeg").write_bytes((tmp_path / "one.jpg").read_bytes() * 3)
    with open_source(tmp_path / "row.mjpeg") as row, open_source(tmp_path / "one.jpg") as one:
        (alone,) = one
        pictures = [frame.picture for frame in row]
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.shape == alone.picture.shape and red_corner(picture) == red_corner(alone.picture)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize(("ratio", "width"), [((64, 45), 228), ((8, 9), 142), ((1, 1), WIDTH), ((10, 1), WIDTH)])
def test_pixels_come_out_square(tmp_path, ending, ratio, width):
    """Height stays, width is what a player shows; a ratio that no camera has is not believed."""

    def anamorphic(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(*ratio)

    with open_source(write(tmp_path / f"v.{ending}", prepare=anamorphic)) as source:
        pictures = [frame.picture for frame in source]
    assert {picture.shape for picture in pictures} == {(HEIGHT, width, 3)}
    assert red_corner(pictures[0]) == "top left" and (pictures[0][4, : width // 4 - 3, 0] > 150).all()
    assert (source.warning is not None) == (ratio == (10, 1))


def test_pixels_may_change_their_shape_and_number_on_the_way(tmp_path):
    """Two programmes of a broadcast, one after the other."""
    parts = []
    for name, ratio, size in (("a", Fraction(1), (160, 96)), ("b", Fraction(4, 3), (80, 48))):
        part = tmp_path / f"{name}.ts"
        pictures, first = [corner(*size)] * 3, 3 * len(parts)

        def prepare(stream: av.VideoStream, ratio: Fraction = ratio) -> None:
            stream.codec_context.sample_aspect_ratio = ratio

        parts.append(write(part, pictures, prepare=prepare, first=first).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with open_source(tmp_path / "both.ts") as source:
        frames = list(source)
    assert [frame.picture.shape[:2] for frame in frames] == [(96, 160)] * 3 + [(48, 107)] * 3
    assert [round(frame.seconds, 3) for frame in frames] == pytest.approx([number / 10 for number in range(6)])


def test_a_cover_and_a_preview_are_not_the_video(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        cover = out.add_stream("mjpeg", rate=10, width=640, height=480, pix_fmt="yuvj420p")
        small = out.add_stream("libx264", rate=10, width=32, height=32, pix_fmt="yuv420p")
        large = out.add_stream("libx264", rate=10, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        cover.disposition = av.stream.Disposition.attached_pic
        small.disposition = large.disposition = av.stream.Disposition.default
        encode(out, cover, [corner(640, 480)])
        encode(out, small, [corner(32, 32)] * 4)
        encode(out, large, [corner()] * 4)
    with open_source(tmp_path / "v.mp4") as source:
        assert [frame.picture.shape[:2] for frame in source] == [(HEIGHT, WIDTH)] * 4


def test_of_two_videos_the_default_is_taken(tmp_path):
    with av.open(str(tmp_path / "v.mkv"), "w") as out:
        large = out.add_stream("mpeg4", rate=10, width=640, height=480, pix_fmt="yuv420p")
        main = out.add_stream("mpeg4", rate=10, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        main.disposition = av.stream.Disposition.default
        encode(out, large, [corner(640, 480)] * 2)
        encode(out, main, [corner()] * 2)
    assert shown(tmp_path / "v.mkv").shape[:2] == (HEIGHT, WIDTH)


def test_a_song_with_a_cover_holds_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=8000)
        cover = out.add_stream("mjpeg", rate=10, width=64, height=48, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        out.mux(sound.encode(samples))
        out.mux(sound.encode(None))
        encode(out, cover, [corner(64, 48)])
    with pytest.raises(ReIDError, match=r"song\.m4a holds no video but a cover picture"):
        open_source(tmp_path / "song.m4a")


def combed(count: int) -> list[np.ndarray]:
    """A white bar that moves on between a frame's even and odd lines."""
    pictures = [np.full((HEIGHT, WIDTH, 3), 60, np.uint8) for _ in range(count)]
    for number, picture in enumerate(pictures):
        picture[::2, 10 + 8 * number : 40 + 8 * number] = 220
        picture[1::2, 14 + 8 * number : 44 + 8 * number] = 220
    return pictures


def comb(picture: np.ndarray) -> float:
    """How far lines are from the mean of their neighbours."""
    grey = picture[..., 0].astype(float)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean())


def interlaced(stream: av.VideoStream) -> None:
    stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me


@pytest.mark.parametrize(("codec", "ending"), [("mpeg2video", "ts"), ("libx264", "mkv")])
def test_interlaced_frames_are_one_moment_each(tmp_path, codec, ending):
    with open_source(write(tmp_path / f"v.{ending}", combed(6), codec=codec, prepare=interlaced)) as source:
        frames = list(source)
    assert [frame.number for frame in frames] == list(range(6)) and source.warning is None
    assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in range(6)])
    assert max(comb(frame.picture) for frame in frames) < 1 < 5 < comb(combed(1)[0])
    for number, frame in enumerate(frames):  # each is its own moment
        (bar,) = np.nonzero(frame.picture[HEIGHT // 2, :, 0] > 140)
        assert abs(bar.min() - (10 + 8 * number)) <= 4


def test_what_is_not_flagged_and_what_is_only_stored_by_turns_stays(tmp_path):
    for name, codec, prepare in (("a.mkv", "ffv1", lambda stream: None), ("b.mov", "png", interlaced)):
        pixels = "rgb24" if codec == "png" else "bgr0"
        path = write(tmp_path / name, combed(2), codec=codec, pixels=pixels, prepare=prepare)
        with open_source(path) as source:
            assert all((frame.picture == was).all() for frame, was in zip(source, combed(2), strict=True))


@pytest.mark.parametrize(
    ("codec", "pixels", "ending"),
    [
        ("libx264", "yuv420p10le", "mp4"),
        ("libx264", "yuv444p", "mp4"),
        ("prores_ks", "yuv422p10le", "mov"),
        ("prores_ks", "yuva444p10le", "mov"),
        ("ffv1", "gbrp16le", "mkv"),
        ("ffv1", "yuv422p16le", "mkv"),
        ("mjpeg", "yuvj420p", "avi"),
        ("png", "rgb48be", "mov"),
        ("rawvideo", "rgb24", "nut"),
    ],
)
def test_every_depth_and_range_is_the_same_picture(tmp_path, codec, pixels, ending):
    path = write(tmp_path / f"v.{ending}", [corner()] * 2, codec=codec, pixels=pixels)
    assert np.abs(shown(path)[[4, -5]][:, [4, -5]].astype(int) - corner()[[4, -5]][:, [4, -5]]).max() <= 4


@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le", "ya8"])
def test_grey_of_every_depth_is_the_same_grey(tmp_path, pixels):
    ramp = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :, None], HEIGHT, 0).repeat(3, 2)
    picture = shown(write(tmp_path / "v.mkv", [ramp], codec="ffv1", pixels=pixels))
    assert np.abs(picture.astype(int) - ramp).max() <= 3


def test_what_is_brighter_than_a_screen_is_brought_into_its_range(tmp_path):
    """White paper of 203 cd/m2 (BT.2408) is code 573 of 10 bits in PQ, a middle grey to whoever takes it for BT.709."""
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p10le")
    for plane, value in zip(frame.planes, (573, 512, 512), strict=True):
        plane.update(np.full(plane.buffer_size // 2, value, "<u2").tobytes())
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p10le")
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = 16, 9, 9, 1
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert shown(tmp_path / "v.mp4").min() > 200


def test_transparent_pixels_are_laid_on_one_colour(tmp_path):
    """Whatever colour hides below them."""
    pictures = []
    for hidden in (0, 255):
        picture = np.full((HEIGHT, WIDTH, 4), hidden, np.uint8)
        picture[..., 3] = 0
        picture[: HEIGHT // 2] = (200, 100, 50, 255)
        path = write(tmp_path / f"{hidden}.mov", [picture], codec="qtrle", pixels="argb", kind="rgba")
        pictures.append(shown(path))
    assert (pictures[0] == pictures[1]).all()
    assert tuple(pictures[0][4, 4]) == (200, 100, 50) and tuple(pictures[0][-5, 4]) == BACKGROUND


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
@pytest.mark.parametrize("there", [True, False])
def test_webm_keeps_its_transparency_beside_its_colours(tmp_path, monkeypatch, codec, there):
    """libav's own decoders give the colours alone."""
    picture = np.full((HEIGHT, WIDTH, 4), (200, 100, 50, 255), np.uint8)
    picture[HEIGHT // 2 :, :, 3] = 0
    path = write(
        tmp_path / "v.webm",
        [picture] * 2,
        codec=codec,
        pixels="yuva420p",
        kind="rgba",
        prepare=lambda stream: stream.codec_context.options.update({"auto-alt-ref": "0"}),
    )
    if not there:
        monkeypatch.setattr(video_source, "_SHOWS_ALPHA", {"vp8": "nowhere", "vp9": "nowhere"})
    with open_source(path) as source:
        pictures = [frame.picture for frame in source]
    below = BACKGROUND if there else (200, 100, 50)
    for shown in pictures:
        assert np.abs(shown[4, 4].astype(int) - (200, 100, 50)).max() <= 6
        assert np.abs(shown[-5, 4].astype(int) - below).max() <= 6
    assert len(pictures) == 2 and (source.warning is None) == there


def test_seconds_count_from_where_a_players_clock_begins(tmp_path):
    """Half a second of sound before the first picture; a second without anything before both."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream = out.add_stream("mpeg4", rate=10, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        for number in range(10, 20):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 8000, 800 * number, Fraction(1, 8000)
            out.mux(sound.encode(samples))
        encode(out, stream, [corner()] * 3, first=15)
    with open_source(path) as source:
        assert [frame.seconds for frame in source] == pytest.approx([0.5, 0.6, 0.7])
    with open_source(write(tmp_path / "silent.mkv", first=15)) as source:
        assert [frame.seconds for frame in source] == pytest.approx([0.0, 0.1, 0.2])
