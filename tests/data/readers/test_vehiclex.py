"""VehicleX: names say everything, and nothing is for testing unless asked."""

from __future__ import annotations

import pytest
from layouts import draw_vehiclex

from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.errors import ReIDError


@pytest.fixture
def tree(tmp_path):
    return draw_vehiclex(tmp_path / "AIC20_ReID_Simulation")


@pytest.mark.parametrize("folder", ["image_train", "sys_image_train", "spgan"])
def test_all_layouts_are_for_training(tree, folder):
    (tree / "image_train").rename(tree / folder)
    dataset = read_vehiclex(root=tree / folder if folder == "spgan" else tree)
    assert (dataset.name, len(dataset.train), dataset.query, dataset.gallery) == ("vehiclex", 8, (), ())
    first = dataset.train[0]
    assert first.path == tree / folder / "0001_c007_1.jpg"
    assert (first.identity, first.camera) == ("0001", "c007")


def test_vehicles_can_be_held_out(tree):
    dataset = read_vehiclex(root=tree, test_fraction=0.25)
    (held_out,) = {image.identity for image in dataset.gallery}
    assert held_out not in {image.identity for image in dataset.train}
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (6, 2, 2)


def test_mistakes_are_explained(tree):
    with pytest.raises(ReIDError, match=r"no folder nowhere .*the VehicleX folder;"):
        read_vehiclex(root="nowhere")
    with pytest.raises(ReIDError, match=r"holds no pictures"):
        read_vehiclex(root=tree.parent)
    (tree / "image_train" / "0001_c007_1.jpg").rename(tree / "image_train" / "000001.jpg")
    with pytest.raises(ReIDError, match=r"'000001\.jpg' .* is not named <identity>_c<camera>_"):
        read_vehiclex(root=tree)
    (tree / "image_train" / "000001.jpg").rename(tree / "image_train" / "0001_c007_1.jpg")
    (tree / "image_train" / "0001_c007_1.jpg").write_bytes(b"")
    with pytest.raises(ReIDError, match="the file is empty"):
        read_vehiclex(root=tree)
