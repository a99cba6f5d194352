"""VRIC: three folders and three lists, taken as they are."""

from __future__ import annotations

import pytest
from layouts import draw_vric

from reid_lightning.data.readers.vric import read_vric
from reid_lightning.errors import ReIDError


@pytest.fixture
def tree(tmp_path):
    return draw_vric(tmp_path / "VRIC")


def test_the_layout_is_read_and_identities_come_from_the_lists(tree):
    dataset = read_vric(root=str(tree))
    assert dataset.name == "vric"
    assert [(image.identity, image.camera) for image in dataset.train] == [("7", "1"), ("7", "1"), ("7", "2")]
    assert [(image.identity, image.camera) for image in dataset.query] == [("15", "1"), ("16", "1")]
    assert [(image.identity, image.camera) for image in dataset.gallery] == [("16", "2"), ("15", "2")]
    assert dataset.query[0].path == tree / "probe_images" / "MVI_20011_015_img00105.jpg"
    assert dataset.gallery[0].path == tree / "gallery_images" / "MVI_20012_016_img00001.jpg"


@pytest.mark.parametrize(
    "line", ["MVI_1.jpg 15", "MVI_1.jpg 15 1 2", "MVI_1 15 1", "../gallery_images/x.jpg 15 1", "/x.jpg 15 1"]
)
def test_a_malformed_line_is_named(tree, line):
    with (tree / "vric_probe.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ReIDError, match=r"vric_probe\.txt, line 3: .*'MVI_20011_016_img00105\.jpg 15 1'"):
        read_vric(root=tree)


def test_wrong_folders_and_missing_pictures_are_explained(tree):
    with pytest.raises(ReIDError, match=rf"did you mean data.root={tree}\?"):
        read_vric(root=tree.parent)
    (tree / "probe_images" / "MVI_20011_016_img00105.jpg").unlink()
    with pytest.raises(ReIDError, match=r"1 of the 7 pictures of vric"):
        read_vric(root=tree)
    (tree / "vric_gallery.txt").unlink()
    with pytest.raises(ReIDError, match=r"has no vric_gallery\.txt\. Expected the VRIC folder with train_images/"):
        read_vric(root=tree)
