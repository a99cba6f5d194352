"""Readers of names, tables and lists: what was written comes back, and any other text is read or is one `ReIDError`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from unittest.mock import patch
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import drawn

from reid_lightning.data.images.files import PictureFiles
from reid_lightning.data.readers import csv_table, folder
from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.data.readers.veri import parse_name, read_index, read_tracks, read_viewpoints
from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import composed

VISIBLE = st.characters(exclude_categories=["Cs", "Cc"])
WORDS = st.text(VISIBLE, min_size=1, max_size=12).map(composed).map(str.strip).filter(bool)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
SIGNED = st.text("\",;\t\n\r\0 ab.jpg01_c</>='\\[(?P*", max_size=80)


def unchecked(dataset: VehicleDataset, **_: object) -> VehicleDataset:
    """In place of `check_images`: these pictures do not exist."""
    return dataset


def walked(names: list[str]) -> Callable[..., PictureFiles]:
    """In place of `_walk`: a folder with these pictures."""
    return lambda root, **_: PictureFiles(root, tuple(names))


@drawn(30)
@given(
    rows=st.lists(st.tuples(WORDS, WORDS, WORDS | st.none(), WORDS | st.none()), min_size=1, max_size=6),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_a_table_comes_back_as_it_was_written(rows: list, separator: str, end: str, bom: bool, tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([["path", "identity", "camera", "colour"], *([cell or "" for cell in row] for row in rows)])
    table = tmp_path / "table.csv"
    table.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    with patch.object(csv_table, "check_images", unchecked):
        dataset = csv_table.read_csv(path=table, test_fraction=0)
    read = [(image.path, image.identity, image.camera, image.colour) for image in dataset.train]
    assert read == [(tmp_path / name, *values) for name, *values in rows]


@drawn(80)
@given(text=st.one_of(TEXTS, SIGNED, SIGNED.map(lambda text: f"path,identity,split\n{text}")))
def test_any_text_as_a_table_is_read_or_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(text.encode())
    with patch.object(csv_table, "check_images", unchecked):
        try:
            dataset = csv_table.read_csv(path=tmp_path / "table.csv")
        except ReIDError as error:
            assert "table.csv" in str(error) or "data." in str(error) or str(error).startswith("table")
        else:
            assert all(image.identity for image in (*dataset.train, *dataset.query, *dataset.gallery))


@drawn(30)
@given(
    pictures=st.lists(
        st.tuples(st.text("ab09", min_size=1, max_size=4), st.integers(0, 99), st.sampled_from(["", "x/", "y/z/"])),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_a_pattern_takes_identity_and_camera_out_of_names(pictures: list, tmp_path: Path) -> None:
    names = sorted(f"{where}{identity}_c{camera}.jpg" for identity, camera, where in pictures)
    with patch.object(folder, "check_images", unchecked), patch.object(folder, "_walk", walked(names)):
        dataset = folder.read_folder(
            root=tmp_path, pattern=r"(?P<identity>[^/_]+)_c(?P<camera>\d+)", test_fraction=0, seed=1
        )
    found = sorted((image.path.as_posix(), image.identity, image.camera) for image in dataset.train)
    expected = [
        ((tmp_path / f"{where}{identity}_c{camera}.jpg").as_posix(), identity, str(camera))
        for identity, camera, where in pictures
    ]
    assert found == sorted(expected)


@drawn(80)
@given(pattern=st.one_of(TEXTS, SIGNED, SIGNED.map(lambda text: f"(?P<identity>{text})")))
def test_any_text_as_a_pattern_is_used_or_refused(pattern: str, tmp_path: Path) -> None:
    names = ["a_c1.jpg", "b_c2.jpg"]
    with patch.object(folder, "check_images", unchecked), patch.object(folder, "_walk", walked(names)):
        try:
            dataset = folder.read_folder(root=tmp_path, pattern=pattern, test_fraction=0)
        except ReIDError:
            return
    assert all(re.search(pattern, "a_c1.jpg b_c2.jpg") and image.identity for image in dataset.train)


@drawn(80)
@given(name=st.one_of(TEXTS, SIGNED, SIGNED.map(lambda text: f"0002_c001_{text}"), SIGNED.map(lambda t: f"{t}_c1_x")))
def test_a_picture_name_stays_in_its_folder(name: str) -> None:
    try:
        identity, camera = parse_name(name, Path("image_train"))
    except ReIDError:
        return
    assert PurePosixPath(name).name == name and "\\" not in name
    assert name.startswith(f"{identity}_{camera}_") and re.fullmatch(r"c\d+", camera)


@pytest.mark.parametrize(
    "name", ["../../0002_c001_x.jpg", "0002_c001_/../../x.jpg", r"..\0002_c001_x.jpg", "/0002_c001_x"]
)
def test_a_picture_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ReIDError, match="is not named"):
        parse_name(name, Path("image_train"))


@drawn(30)
@given(items=st.lists(st.tuples(WORDS, WORDS), max_size=6), encoding=st.sampled_from(["utf-8", "gb18030"]))
def test_labels_come_back_in_either_encoding(items: list, encoding: str, tmp_path: Path) -> None:
    lines = "".join(f"<Item imageName={quoteattr(name)} colorID={quoteattr(colour)}/>" for name, colour in items)
    declared = "gb2312" if encoding == "gb18030" else encoding
    text = f'<?xml version="1.0" encoding="{declared}"?><Items>{lines}</Items>'
    (tmp_path / "labels.xml").write_bytes(text.encode(encoding))
    try:
        read = read_items(tmp_path / "labels.xml")
    except ReIDError as error:  # XML has no place for a few characters that texts have, such as U+FFFE
        assert "not well-formed" in str(error) and any(ord(sign) > 0xFF for sign in lines)
        return
    assert read == [{"imageName": name, "colorID": colour} for name, colour in items]


@drawn(80)
@given(content=st.one_of(st.binary(max_size=120), SIGNED.map(str.encode), SIGNED.map(lambda t: f"<a>{t}</a>".encode())))
def test_any_bytes_as_labels_are_read_or_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.xml").write_bytes(content)
    try:
        items = read_items(tmp_path / "labels.xml")
    except ReIDError as error:
        assert "labels.xml" in str(error)
    else:
        assert all("imageName" in item for item in items)


@drawn(30)
@given(rows=st.lists(st.lists(st.integers(0, 8), max_size=5), min_size=1, max_size=5), end=st.sampled_from("\r\n"))
def test_an_index_comes_back_as_it_was_written(rows: list, end: str, tmp_path: Path) -> None:
    path = tmp_path / "gt_index.txt"
    path.write_bytes("".join(f"{' '.join(str(row + 1) for row in one)}{end}" for one in rows).encode())
    assert read_index(path, queries=len(rows), gallery=9) == tuple(map(tuple, rows))
    too_small = max((row for one in rows for row in one), default=0)
    if too_small:
        with pytest.raises(ReIDError, match="is outside 1 to"):
            read_index(path, queries=len(rows), gallery=too_small)
    with pytest.raises(ReIDError, match="query pictures"):
        read_index(path, queries=len(rows) + 1, gallery=9)


@drawn(80)
@given(text=st.one_of(TEXTS, SIGNED, st.text("0123 \n-_a.jpg", max_size=40)))
def test_any_text_as_a_list_is_read_or_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    for read in (
        lambda: read_index(path, queries=2, gallery=3),
        lambda: read_tracks(path),
        lambda: read_viewpoints(path),
    ):
        try:
            read()
        except ReIDError as error:
            assert "list.txt" in str(error)
