"""Letters composed one way or another are one name, in every list, table and label; what is no UTF-8 is shown."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning.data.inspection.overlap import content_finder
from reid_lightning.data.inspection.report import report_on
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.data.readers.veri import read_veri
from reid_lightning.data.readers.vric import read_vric
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.files import read_embeddings, write_embeddings
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.search.settings import camera_of
from reid_lightning.search.video.sources import open_source
from reid_lightning.untrusted.names import composed, name_of_file, readable, stored_path

PATTERN = r"(?P<identity>[^/_]+)_(?P<camera>c\d+)"
FORMS = ("NFC", "NFD")


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


NAMES = [f"Škoda{vehicle}_c{camera}_é.png" for vehicle in (1, 2) for camera in (1, 2)]
IDENTITIES = {nfc("Škoda1"), nfc("Škoda2")}


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode("utf-8", "surrogateescape")]).integers(0, 255, (8, 12, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path, "PNG")
    return path


@pytest.fixture(params=FORMS)
def crops(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Pictures whose names are composed in one form; below, lists are in the other one."""
    for name in NAMES:
        picture(tmp_path / "crops" / unicodedata.normalize(request.param, name))
    return tmp_path / "crops"


def other_form(folder: Path, text: str) -> str:
    stored = next(name for name in os.listdir(folder) if not name.isascii())
    return nfd(text) if unicodedata.is_normalized("NFC", stored) else nfc(text)


def test_a_list_and_a_pattern_match_names_that_are_composed_otherwise(crops: Path):
    (crops / "train.txt").write_text(other_form(crops, "\n".join(NAMES[:2])), encoding="utf-8")
    dataset = read_folder(root=crops, pattern=PATTERN, train_list="train.txt")
    assert {image.identity for image in dataset.train} == {nfc("Škoda1")} and len(dataset.train) == 2
    assert all(image.path.exists() for image in (*dataset.train, *dataset.query, *dataset.gallery))
    pattern = other_form(crops, r"(?P<identity>Škoda\d)_(?P<camera>c\d)")
    dataset = read_folder(root=crops, pattern=pattern, test_fraction=0)
    assert {image.identity for image in dataset.train} == IDENTITIES


def test_a_table_finds_its_pictures_and_one_spelling_is_one_vehicle(crops: Path):
    lines = [f"{name},{name.split('_')[0]},é{name.split('_')[1]}" for name in NAMES]
    text = "\n".join(["path,identity,camera", *map(nfc, lines[:3]), nfd(lines[3])])
    (crops / "table.csv").write_text(text, encoding="utf-8")
    dataset = read_csv(path=crops / "table.csv", test_fraction=1, query_cameras=[nfd("éc1")])
    assert {image.identity for image in dataset.gallery} == IDENTITIES
    assert {image.camera for image in dataset.gallery} == {nfc("éc2")} and len(dataset.query) == 2


def test_published_layouts_find_what_their_lists_and_labels_name(crops: Path, tmp_path: Path):
    root = tmp_path / "veri"
    for part in ("train", "query", "test"):
        for file in crops.iterdir():
            picture(root / f"image_{part}" / file.name)
        (root / f"name_{part}.txt").write_text(other_form(crops, "\n".join(NAMES)), encoding="utf-8")
    items = "".join(f'<Item imageName="{name}" colorID="1" typeID="1"/>' for name in NAMES)
    (root / "train_label.xml").write_text(f"<a>{other_form(crops, items)}</a>", encoding="utf-8")
    (root / "test_track.txt").write_text(other_form(crops, f"é {NAMES[0]}\n"), encoding="utf-8")
    dataset = read_veri(root=root)
    assert {image.identity for image in dataset.train} == IDENTITIES
    assert {image.colour for image in dataset.train} == {"yellow"} and dataset.gallery[0].track == nfc("é")

    for part in ("train", "probe", "gallery"):
        for file in crops.iterdir():
            picture(tmp_path / "vric" / f"{part}_images" / file.name)
        lines = "\n".join(f"{name} {name.split('_')[0]} 1" for name in NAMES)
        (tmp_path / "vric" / f"vric_{part}.txt").write_text(other_form(crops, lines), encoding="utf-8")
    assert {image.identity for image in read_vric(root=tmp_path / "vric").query} == IDENTITIES

    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        for form in FORMS:
            picture(tmp_path / "market" / folder / unicodedata.normalize(form, f"Š{FORMS.index(form)}_c1s1_x.png"))
    assert {image.identity for image in read_market1501(root=tmp_path / "market").query} == {"Š0", "Š1"}


def test_a_picture_in_a_shard_and_its_file_are_one_whatever_the_form(crops: Path, tmp_path: Path):
    dataset = read_folder(root=crops, pattern=PATTERN, test_fraction=0)
    packed = read_shards(root=write_shards(dataset, tmp_path / "shards")).train
    moved = tmp_path / other_form(crops, dataset.train[0].path.name)
    moved.write_bytes(dataset.train[0].path.read_bytes())
    content_of = content_finder([image.path for image in packed])
    assert content_of(moved) is not None and content_of(moved) == content_of(packed[0].path)


def test_two_files_that_differ_in_nothing_else_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for form in FORMS:
        picture(tmp_path / unicodedata.normalize(form, "é1_c1.png"))
    with caplog.at_level(logging.WARNING):
        dataset = read_folder(root=tmp_path, pattern=PATTERN, test_fraction=0)
    assert len(dataset.train) == 2 and {image.identity for image in dataset.train} == {nfc("é1")}
    assert "differ only in how their letters are composed" in caplog.text
    (tmp_path / "train.txt").write_text(nfc("é1_c1.png"), encoding="utf-8")
    with pytest.raises(ReIDError, match="is the name of 2 pictures"):
        read_folder(root=tmp_path, pattern=PATTERN, train_list="train.txt")
    for form in FORMS:
        picture(tmp_path / "two" / unicodedata.normalize(form, "éé.png"))
    with pytest.raises(ReIDError, match="differ only in how"):
        stored_path(tmp_path / "two", nfc("é") + nfd("é") + ".png")


def test_names_are_found_through_folders_and_left_alone_where_there_is_nothing(tmp_path: Path):
    file = picture(tmp_path / nfd("Straße é") / "a" / nfc("ü.png"))
    assert stored_path(tmp_path, f"{nfc('Straße é')}/a/{nfd('ü.png')}") == file
    assert stored_path(Path(), str(tmp_path / nfc("Straße é") / "a" / nfd("ü.png"))) == file
    assert stored_path(tmp_path, nfc("ö.png")) == tmp_path / nfc("ö.png")
    picture(tmp_path / nfc("ö.png"))  # the folder has changed
    assert stored_path(tmp_path, nfd("ö.png")) == tmp_path / nfc("ö.png")
    with open_source(tmp_path / nfd("ö.png")) as source:
        assert source.kind == "picture"
    assert camera_of(nfd("Süd")) == nfc("Süd")


def test_embeddings_know_one_vehicle_by_either_spelling(tmp_path: Path):
    table = EmbeddingTable(torch.eye(2), (nfc("é"), nfd("é")), (nfd("ü"), nfc("ü")), (nfd("t1"), "t1"))
    for suffix in (".npz", ".safetensors"):
        read = read_embeddings(write_embeddings(tmp_path / f"q{suffix}", table))
        assert read.identities == (nfc("é"),) * 2 and read.cameras == (nfc("ü"),) * 2
    (tmp_path / "q.json").write_text(json.dumps({nfd("é_c001_1"): [[1.0, 0.0]]}), encoding="utf-8")
    assert read_embeddings(tmp_path / "q.json").identities == (nfc("é"),)


def test_names_that_are_no_utf8_are_read_and_can_be_shown(tmp_path: Path):
    root = tmp_path / os.fsdecode(b"cr\xffops")
    for vehicle in (1, 2):
        for camera in (1, 2):
            picture(root / os.fsdecode(b"car\xe9%d_c%d.png" % (vehicle, camera)))
    (root / os.fsdecode(b"cut\xe9_c1.png")).write_bytes(b"x")
    (root / os.fsdecode(b"x.\xff")).write_bytes(b"x")
    report = report_on(lambda on_bad_image: read_folder(root=root, pattern=PATTERN, on_bad_image=on_bad_image))
    texts = [report.name, *report.passed_over, *(text for one in report.problems for text in (one.what, *one.examples))]
    "".join(texts).encode()  # which raises where a name cannot be written
    assert report.name == r"cr\xffops" and r".\xff 1" in report.passed_over[0]
    dataset = read_folder(root=root, pattern=PATTERN, on_bad_image="skip", test_fraction=0)
    assert {image.identity for image in dataset.train} == {r"car\xe91", r"car\xe92"}
    with pytest.raises(ReIDError, match="cannot be read") as caught:
        read_folder(root=root, pattern=PATTERN)
    str(caught.value).encode()
    with open_source(root) as source:
        assert source.name == r"cr\xffops" and len(list(source)) == 4
    source.warning.encode()


def test_forms_of_names():
    assert composed(nfd("é")) == "é" and composed("e") == "e"
    assert readable(os.fsdecode(b"a\xffb")) == r"a\xffb" and readable("é") == "é"
    assert name_of_file(os.fsdecode(nfd("é").encode() + b"\xff")) == r"é\xff"
