"""What is opened as a source: pictures, folders, any name; what cannot be is named; fingerprints follow the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from toy_videos import COUNT, draw

from reid_lightning.errors import ReIDError
from reid_lightning.search.video.sources import open_source


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


def test_a_name_with_a_colon_is_no_protocol(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("2026-01-01T08:00:00.mp4").write_bytes(video.read_bytes())
    with open_source("2026-01-01T08:00:00.mp4") as source:
        assert (source.name, source.kind, source.length) == ("2026-01-01T08:00:00.mp4", "video", COUNT)
        assert source.fingerprint == open_source(video).fingerprint
