"""VERI-Wild: lists, the table of cameras, and same camera as junk."""

from __future__ import annotations

import pytest
import torch
from layouts import draw_veri_wild

from reid_lightning.data.readers.veri_wild import read_veri_wild
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import evaluate_retrieval


@pytest.fixture
def tree(tmp_path):
    return draw_veri_wild(tmp_path / "VERI-Wild")


@pytest.mark.parametrize("split", ["small", "medium", "large"])
def test_the_layout_is_read(tree, split):
    dataset = read_veri_wild(root=str(tree), split=split)
    assert dataset.name == f"veri_wild-{split}"
    assert [image.path for image in dataset.train] == [tree / "images/00001" / f"00000{n}.jpg" for n in (1, 2)]
    assert [(image.identity, image.camera) for image in dataset.query] == [("00011", "3"), ("00012", "3")]
    assert [(image.identity, image.camera) for image in dataset.gallery] == [
        ("00011", "3"),
        ("00011", "4"),
        ("00012", "5"),
    ]
    assert {(image.colour, image.type) for image in dataset.train} == {("white", "SUV")}


def test_each_size_has_lists_of_its_own(tree):
    (tree / "train_test_split" / "test_5000.txt").write_text("00012/000007.jpg\n")
    (tree / "train_test_split" / "test_5000_query.txt").write_text("00012/000006\n")
    dataset = read_veri_wild(root=tree, split="medium")
    assert [image.path.name for image in (*dataset.query, *dataset.gallery)] == ["000006.jpg", "000007.jpg"]


def test_the_same_vehicle_under_the_same_camera_is_junk(tree):
    dataset = read_veri_wild(root=tree)
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # For 00011 its camera's own picture is nearest, then 00012's: the right answer is second of what counts.
    gallery = torch.tensor([[1.0, 0.0], [0.1, 1.0], [1.0, 0.5]])
    result = evaluate_retrieval(query, gallery, **ranking_labels(dataset))
    assert result.average_precision.tolist() == [0.5, 0.5]
    assert result.junk == "same identity and same camera"


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("test_3000.txt", "000004", "'00001/000012'"),
        ("train_list.txt", "../000004", "'00001/000012'"),
        ("test_3000_query.txt", "00011/999999", "00011/999999 is not in .*vehicle_info.txt"),
        ("vehicle_info.txt", "00011/000003;3;2018", "expected id/image;Camera ID"),
        ("vehicle_info.txt", "00011/000003;;2018;Audi;SUV;white", "expected id/image;Camera ID"),
        ("vehicle_info.txt", "000003;3;2018;Audi;SUV;white", "expected id/image;Camera ID"),
    ],
)
def test_a_malformed_line_is_named(tree, name, line, expected):
    path = tree / "train_test_split" / name
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, line]) + "\n")
    with pytest.raises(ReIDError, match=rf"{name}, line {len(lines) + 1}: .*{expected}"):
        read_veri_wild(root=tree)


def test_columns_are_found_by_name_and_may_be_empty(tree):
    path = tree / "train_test_split" / "vehicle_info.txt"
    rows = [line.split(";") for line in path.read_text().splitlines()]
    path.write_text("\n".join(";".join([row[5], row[0], row[4], row[1]]) for row in rows).replace("white", ""))
    image = read_veri_wild(root=tree).query[0]
    assert (image.camera, image.type, image.colour) == ("3", "SUV", None)
    path.write_text("picture;camera\n" + path.read_text())
    with pytest.raises(ReIDError, match=r"vehicle_info\.txt, line 1: the header is 'picture;camera'; expected 'id/"):
        read_veri_wild(root=tree)


def test_wrong_folders_splits_and_missing_pictures_are_explained(tree):
    with pytest.raises(ReIDError, match=r"data\.split is 3000; expected one of small, medium, large"):
        read_veri_wild(root=tree, split=3000)
    with pytest.raises(ReIDError, match=r"has no images/, .*vehicle_info\.txt\. Expected the VERI-Wild folder"):
        read_veri_wild(root=tree / "images")
    (tree / "images/00012/000007.jpg").unlink()
    with pytest.raises(ReIDError, match=r"000007\.jpg: there is no such file"):
        read_veri_wild(root=tree)
