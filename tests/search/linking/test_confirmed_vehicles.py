"""Vehicles that somebody vouches for, as a data set; what looks alone have joined is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_traffic import Pass, registered

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking.answers import Answers
from reid_lightning.search.linking.confirmed import confirmed_vehicles, read_gallery

PASSES = [
    Pass(1, "north", 1e9, plate="AB12CDE"),
    Pass(1, "south", 1e9 + 40, plate="AB12CDE", folder="AB12CDE"),
    Pass(2, "north", 1e9 + 60, plate="XY34ZZZ", confidence=0.7),
    Pass(2, "south", 1e9 + 90, plate="XY34ZZZ", confidence=0.7, folder="XY34ZZZ"),
    Pass(3, "north", 1e9 + 100),
    Pass(3, "south", 1e9 + 140),
    Pass(4, "north", 1e9 + 200, folder="TAXI"),
    Pass(4, "east", 1e9 + 240, folder="TAXI"),
    Pass(5, "east", 1e9 + 300),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    registered(tmp_path / "gallery", PASSES)
    return tmp_path / "gallery"


def names(root: Path) -> dict[str, list[str]]:
    return {name: [one.id for one in some] for name, some in confirmed_vehicles(GalleryReader(root)).items()}


def test_plates_folders_and_words_confirm_and_nothing_else(root: Path) -> None:
    assert names(root) == {"AB12CDE": ["a0", "a1"], "TAXI": ["a6", "a7"]}
    Answers(root).add([("a4", "a5")], "same", by="Anna")
    found = names(root)
    assert ["a4", "a5"] in found.values() and len(found) == 3
    Answers(root).add([("a0", "a1")], "different", by="Anna")
    assert sorted(map(len, names(root).values())) == [1, 1, 2, 2]


def test_they_are_a_data_set_that_trains_and_evaluates(root: Path) -> None:
    Answers(root).add([("a4", "a5")], "same", by="Anna")
    dataset = read_gallery(root=root, test_fraction=0.34)
    pictures = (*dataset.train, *dataset.query, *dataset.gallery)
    assert {one.identity for one in pictures} >= {"AB12CDE", "TAXI"}
    assert len({one.identity for one in dataset.train} & {one.identity for one in dataset.query}) == 0
    assert {one.camera for one in pictures} == {"north", "south", "east"}
    assert {one.track for one in dataset.train} <= {"a0", "a1", "a4", "a5", "a6", "a7"}
    assert all(Path(one.path).is_file() for one in pictures)
    assert dataset.found_by is None  # people said so


def test_several_galleries_are_one_data_set(root: Path, tmp_path: Path) -> None:
    registered(tmp_path / "other", PASSES[:2])
    dataset = read_gallery(root=[root, tmp_path / "other"], test_fraction=0)
    assert {one.identity for one in dataset.train} == {"gallery/AB12CDE", "gallery/TAXI", "other/AB12CDE"}


def test_a_sighting_that_is_gone_is_left_out(root: Path) -> None:
    gallery = Gallery(root)
    gallery.delete_sighting(gallery.find("a1"))
    assert names(root)["AB12CDE"] == ["a0"]
    with pytest.raises(ReIDError, match="1 vehicle of 2 sightings or more is confirmed; expected 2"):
        read_gallery(root=root)


def test_no_gallery_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ReIDError, match="there is no gallery at"):
        read_gallery(root=tmp_path / "nowhere")
