"""CityFlow-ReID: labels in gb2312 XML, tracks, and identities held out because the test's are secret."""

from __future__ import annotations

from collections import Counter

import pytest
from layouts import draw_cityflow, text

from reid_lightning.data.readers.cityflow import read_cityflow
from reid_lightning.errors import ReIDError


@pytest.fixture
def tree(tmp_path):
    return draw_cityflow(tmp_path / "AIC21_Track2_ReID")


def identities(split) -> set[str]:
    return {image.identity for image in split}


def test_everything_for_training(tree):
    dataset = read_cityflow(root=str(tree), test_fraction=0)
    assert (dataset.name, len(dataset.train), dataset.query, dataset.gallery) == ("cityflow", 30, (), ())
    first = dataset.train[:3]
    assert [image.path for image in first] == [tree / "image_train" / f"00000{number}.jpg" for number in (3, 4, 5)]
    assert [(image.identity, image.camera) for image in first] == [("0001", "c001")] * 2 + [("0001", "c002")]
    assert first[0].track == first[1].track != first[2].track


def test_a_share_of_the_vehicles_is_held_out(tree):
    dataset = read_cityflow(root=tree, test_fraction=0.3, seed=1)
    assert len(identities(dataset.train)) == 7
    assert identities(dataset.train).isdisjoint(identities(dataset.gallery))
    assert len(dataset.gallery) == 9
    assert Counter(image.camera for image in dataset.query) == {"c001": 3, "c002": 3}
    assert identities(read_cityflow(root=tree, test_fraction=0.3, seed=2).train) != identities(dataset.train)


def test_ones_own_vehicles_are_held_out(tree):
    text(tree / "validation.txt", "0003", "", "0007")
    dataset = read_cityflow(root=tree, test_identities="validation.txt")
    assert identities(dataset.gallery) == {"0003", "0007"} == identities(dataset.query)
    assert len(dataset.train) == 24
    text(tree / "validation.txt", "0003", "3")
    with pytest.raises(ReIDError, match=r"validation\.txt, line 2: '3' is not a vehicleID .*'0001'"):
        read_cityflow(root=tree, test_identities="validation.txt")
    with pytest.raises(ReIDError, match=r"nothing\.txt cannot be read: No such file"):
        read_cityflow(root=tree, test_identities="nothing.txt")


def test_tracks_are_optional(tree):
    (tree / "train_track.txt").unlink()
    assert {image.track for image in read_cityflow(root=tree).train} == {None}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('cameraID="c002" ', "", "expected <Item imageName="),
        ('vehicleID="0004"', 'vehicleID=""', "expected <Item imageName="),
        ('imageName="000012.jpg"', 'imageName="../000012.jpg"', "expected <Item imageName="),
        ('imageName="000012.jpg"', "", "an <Item> has no imageName"),
        ("</Items>", "", "is not well-formed XML"),
        ("<TrainingImages", "<!DOCTYPE x><TrainingImages", "declares a document type"),
        ("Item ", "Thing ", "has no <Item>"),
    ],
)
def test_wrong_labels_are_explained(tree, old, new, message):
    path = tree / "train_label.xml"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(ReIDError, match=rf"train_label\.xml.*{message}"):
        read_cityflow(root=tree)


def test_wrong_folders_and_missing_pictures_are_explained(tree):
    with pytest.raises(ReIDError, match=r"has no train_label\.xml.*the CityFlow-ReID folder"):
        (tree / "image_query" / "image_train").mkdir()
        read_cityflow(root=tree / "image_query")
    (tree / "image_train" / "000003.jpg").unlink()
    with pytest.raises(ReIDError, match=r"000003\.jpg: there is no such file"):
        read_cityflow(root=tree)
