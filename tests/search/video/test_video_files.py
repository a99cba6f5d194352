"""Videos as frames, in order and at their times; what cannot be read is one clear error, damage a warning."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from toy_videos import COUNT, RATE, draw, grey, write_video

from reid_lightning.errors import ReIDError
from reid_lightning.search.video import video_source
from reid_lightning.search.video.sources import open_source


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


def test_an_hour_is_not_held_in_memory(tmp_path: Path):
    """What was handed out belongs to the caller alone."""
    import weakref

    with open_source(write_video(tmp_path / "clip.mp4", count=10)) as source:
        seen = [weakref.ref(frame.picture) for frame in source]
        assert sum(one() is not None for one in seen) <= 1
