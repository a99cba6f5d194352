"""Which files of a folder are pictures: by what they hold, and nothing is passed over in silence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_lightning.app.uploads import kind_of
from reid_lightning.data.images.files import find_pictures
from reid_lightning.data.images.formats import FORMATS, format_of, is_animated
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.inspection.report import report_on
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.vehicle_folder import read_folder as read_vehicle_folder
from reid_lightning.search.video.sources import open_source

PIXELS = np.random.default_rng(0).integers(0, 255, (12, 18, 3), dtype=np.uint8)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
ENDINGS = {"jpg": "JPEG", "jfif": "JPEG", "JPE": "JPEG", "gif": "GIF", "heic": "AVIF", "bin": "PNG", "": "WEBP"}


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, format=kind)
    return buffer.getvalue()


FILES = {kind: encoded(kind) for kind in FORMATS}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Four vehicles on two cameras, a picture of each under every ending, and what else lies in folders."""
    root = tmp_path / "mixed"
    root.mkdir()
    for vehicle in range(1, 5):
        for camera in (1, 2):
            for row, (ending, kind) in enumerate(ENDINGS.items()):
                (root / f"{vehicle:04d}_c{camera}_{row}.{ending}".rstrip(".")).write_bytes(FILES[kind])
    (root / "0001_c1_x.heic").write_bytes(HEIC)
    (root / "0001_c1_y.HEIC").write_bytes(HEIC)
    (root / "notes.txt").write_bytes(b"x")
    (root / "Makefile").write_bytes(b"x")
    os.mkfifo(root / "0001_c1_pipe.jpg")
    return root


PASSED_OVER = (
    "5 of 61 files were passed over (.heic 2, .txt 1, a pipe 1, without an ending 1); HEIC cannot be decoded here"
)


def test_formats_are_known_by_their_first_bytes():
    assert {kind: format_of(content) for kind, content in FILES.items()} == {kind: kind for kind in FORMATS}
    assert format_of(HEIC) == "HEIC" and format_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif") == "AVIF"
    for content in (b"", b"BMW list", b"\0\0\0\x18ftypisom\0\0\0\0isommp42", b"RIFF\0\0\0\0AVI LIST", b"GIF", b"text"):
        assert format_of(content) is None
    assert format_of(b"P5 8 8 255\n") == "PNM" and format_of(b"8BPS") == "Photoshop's PSD"


def test_a_data_set_reads_every_ending_and_names_the_rest(mixed: Path):
    pattern = r"(?P<identity>\d+)_c(?P<camera>\d+)"
    report = report_on(lambda on_bad_image: read_folder(root=mixed, pattern=pattern, on_bad_image=on_bad_image))
    assert sum(split.pictures for split in report.splits if split.name != "query") == 56
    assert not report.unreadable and PASSED_OVER in report.passed_over[0]
    assert any("cannot be decoded here" in problem.what for problem in report.problems)
    for path in mixed.glob("*_[xyp]*"):
        path.unlink()
    quiet = read_folder(root=mixed, pattern=pattern, on_bad_image="skip")
    assert len(quiet.train) + len(quiet.gallery) == 56 and not quiet.passed_over[0].formats


def test_a_list_that_is_used_is_not_passed_over(tmp_path: Path):
    for name in ("1_c1.jpg", "1_c2.jfif"):
        (tmp_path / name).write_bytes(FILES["JPEG"])
    (tmp_path / "train.txt").write_text("1_c1.jpg\n1_c2.jfif\n", encoding="utf-8")
    dataset = read_folder(root=tmp_path, pattern=r"(?P<identity>\d)_c(?P<camera>\d)", train_list="train.txt")
    assert len(dataset.train) == 2 and dataset.passed_over == ()


def test_a_layout_and_a_table_read_every_ending(tmp_path: Path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / folder).mkdir()
        for row, (ending, kind) in enumerate(ENDINGS.items()):
            (tmp_path / folder / f"0001_c{row % 2 + 1}s1_{row}.{ending}").write_bytes(FILES[kind])
    (tmp_path / "query" / "0001_c1s1_x.heic").write_bytes(HEIC)
    dataset = read_market1501(root=tmp_path)
    assert len(dataset.query) == len(ENDINGS)
    assert [line.sentence.partition(": ")[2][:40] for line in dataset.passed_over] == [
        "1 of 8 files was passed over (.heic 1); "
    ]
    rows = [f"query/0001_c1s1_x.heic,{row}" for row in range(2)]
    (tmp_path / "table.csv").write_text("\n".join(["path,identity", *rows]), encoding="utf-8")
    with pytest.raises(ReIDError, match="it is HEIC, which cannot be decoded here"):
        read_csv(path=tmp_path / "table.csv", test_fraction=0)


def test_a_folder_as_source_reads_every_ending_and_names_the_rest(mixed: Path):
    with open_source(mixed) as source:
        assert source.length == 56 and len(list(source)) == 56
    assert PASSED_OVER in source.warning
    with pytest.raises(ReIDError, match=r"holds no pictures; .* 1 of 1 files was passed over \(\.txt 1\)"):
        (mixed / "empty").mkdir()
        (mixed / "empty" / "a.txt").write_bytes(b"x")
        open_source(mixed / "empty")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["car.jfif", "car", "car.mp4", "car.avif"])
def test_a_still_picture_is_a_picture_under_any_name(tmp_path: Path, kind: str, name: str):
    (tmp_path / name).write_bytes(FILES[kind])
    with open_source(tmp_path / name) as source:
        assert source.kind == "picture" and [frame.picture.shape for frame in source] == [PIXELS.shape]
    assert source.warning is None and kind_of(name, FILES[kind]) == "picture"


def test_what_cannot_be_decoded_is_told_to_be_just_that(tmp_path: Path):
    path = tmp_path / "car.heic"
    path.write_bytes(HEIC)
    for read in (load_image, open_source):
        with pytest.raises(ReIDError, match="it is HEIC, which cannot be decoded here"):
            read(path)
    assert "HEIC" in find_bad_images([path])[path]
    assert "HEIC" in read_vehicle_folder(tmp_path).problems[0]


def test_pictures_of_any_ending_in_a_vehicles_folder_are_read(tmp_path: Path):
    for ending, kind in ENDINGS.items():
        (tmp_path / f"a{ending}.{ending}").write_bytes(FILES[kind])
    (tmp_path / "notes.txt").write_bytes(b"x")
    content = read_vehicle_folder(tmp_path)
    assert len(content.sightings) == len(ENDINGS) and not content.problems


def test_an_animated_gif_is_a_video_and_of_other_animations_the_first_picture_counts(tmp_path: Path):
    pictures = [Image.fromarray(np.roll(PIXELS, number, axis=1)) for number in range(3)]
    for kind in ("GIF", "WEBP", "PNG"):
        path = tmp_path / f"car.{kind}"
        pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=40)
        assert is_animated(path)
        with open_source(path) as source:
            frames = list(source)
        if kind == "GIF":
            assert (source.kind, len(frames)) == ("video", 3)
        else:
            assert (source.kind, len(frames)) == ("picture", 1) and "an animation" in source.warning


def test_folders_behind_links_are_visited_once_and_only_if_asked(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(FILES["JPEG"])
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "far").symlink_to(tmp_path / "a")
    (tmp_path / "2.jpg").symlink_to("a/1.jpg")
    assert find_pictures(tmp_path).names == ("2.jpg", "a/1.jpg")
    followed = find_pictures(tmp_path, follow_links=True).names
    assert len(followed) == 2 and followed[0] == "2.jpg"
    assert find_pictures(tmp_path, below=False).names == ("2.jpg",)
