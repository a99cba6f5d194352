"""Market-1501's folders: names, junk and distractors."""

from __future__ import annotations

import pytest
import torch
from layouts import draw_market1501, picture

from reid_lightning.data.readers.market1501 import read_market1501
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import evaluate_retrieval


@pytest.fixture
def tree(tmp_path):
    return draw_market1501(tmp_path / "Market-1501-v15.09.15")


def seen(split) -> list[tuple[str, str]]:
    return [(image.identity, image.camera) for image in split]


def test_the_layout_is_read_without_junk_and_with_distractors(tree):
    dataset = read_market1501(root=str(tree))
    assert dataset.name == "Market-1501-v15.09.15"
    assert seen(dataset.train) == [("0002", "c1"), ("0002", "c2"), ("0007", "c3")]
    assert seen(dataset.query) == [("0003", "c1"), ("0004", "c2")]
    assert seen(dataset.gallery) == [("0000", "c1"), ("0003", "c1"), ("0003", "c4"), ("0004", "c5")]


def test_a_distractor_is_wrong_and_the_same_camera_is_junk(tree):
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
    result = evaluate_retrieval(query, gallery, **ranking_labels(read_market1501(root=tree)))
    assert result.average_precision.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("name", ["0005_c2_f0046985.jpg", "car-5_c002_00030600_0.jpg", "0000_c12s3_1_2.PNG"])
def test_names_of_other_sets_in_this_layout(tree, name):
    picture(tree / "bounding_box_train" / name)
    assert len(read_market1501(root=tree).train) == 4


@pytest.mark.parametrize("name", ["0005.jpg", "0005_s1_000451.jpg", "_c1s1_0.jpg", "-2_c1s1_0.jpg", "0005_cx_1.jpg"])
def test_other_names_are_refused(tree, name):
    picture(tree / "query" / name)
    with pytest.raises(ReIDError, match=rf"'{name}' .* is not named <identity>_c<camera>"):
        read_market1501(root=tree)


def test_wrong_folders_and_unreadable_pictures_are_explained(tree):
    with pytest.raises(ReIDError, match=rf"did you mean data.root={tree}\?"):
        read_market1501(root=tree.parent)
    path = tree / "query" / "0003_c1s1_000001_00.jpg"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReIDError, match=r"0003_c1s1_000001_00\.jpg"):
        read_market1501(root=tree)
    for other in (tree / "query").glob("0*"):
        other.unlink()
    picture(tree / "query" / "-1_c1s1_000401_03.jpg")
    with pytest.raises(ReIDError, match=r"query holds only junk"):
        read_market1501(root=tree)
    (tree / "query" / "-1_c1s1_000401_03.jpg").unlink()
    with pytest.raises(ReIDError, match=r"query holds no pictures"):
        read_market1501(root=tree)
