"""The pictures by which training chooses its best epoch."""

from dataclasses import replace
from pathlib import Path

import pytest

from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.validation import divide
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError


def pictures(names, *, cameras=("c1", "c2", "c3")):
    seen = [(name, at, camera) for name in names for at, camera in enumerate(cameras)]
    return tuple(VehicleImage(Path(f"{name}_{at}.jpg"), name, camera) for name, at, camera in seen)


def cars(train, **others):
    return VehicleDataset("cars", train, pictures("yz", cameras=("c1",)), pictures("yz"), **others)


LETTERS = cars(pictures("abcdefghijklmnopqrst"))


def identities(images):
    return {image.identity for image in images}


@pytest.mark.parametrize(("share", "count"), [(0.1, 2), (0.01, 2), (0.25, 5), (0.9, 18)])
def test_a_share_of_the_training_identities_is_put_aside(share, count):
    divided = divide(LETTERS, share, seed=0)
    aside = identities(divided.validation.gallery)
    assert len(aside) == count
    assert identities(divided.train.train) == identities(LETTERS.train) - aside
    assert len(divided.validation.query) == len(divided.validation.gallery) == 3 * count
    assert (divided.train.query, divided.train.gallery) == (LETTERS.query, LETTERS.gallery), "the test stays whole"
    assert not divided.on_test
    assert divided.chosen_on == f"pictures of {count} of 20 training identities, which were put aside"


def test_which_ones_depends_on_the_seed_and_the_names_alone():
    def chosen(dataset, seed):
        return identities(divide(dataset, 0.25, seed=seed).validation.gallery)

    assert chosen(LETTERS, 3) == chosen(replace(LETTERS, train=LETTERS.train[::-1]), 3)
    assert len({frozenset(chosen(LETTERS, seed)) for seed in range(5)}) > 1


def test_the_test_pictures_where_they_are_asked_for():
    divided = divide(LETTERS, "test", seed=0)
    assert divided.train is divided.validation is LETTERS and divided.on_test
    assert "the very query and gallery pictures" in divided.chosen_on


def test_the_data_set_s_own_validation_pictures_come_first():
    own = replace(LETTERS, validation=pictures("uvw"))
    divided = divide(own, 0.5, seed=0)
    assert divided.train is own
    assert divided.validation.gallery == own.validation and len(divided.validation.query) == 9


def test_only_identities_that_can_be_searched_for_are_put_aside():
    one_camera = pictures("abcdefgh", cameras=("c1", "c1"))
    divided = divide(cars(one_camera + pictures("qr", cameras=("c1", "c2"))), 0.5, seed=0)
    assert identities(divided.validation.gallery) == {"q", "r"}
    divided = divide(cars(one_camera + pictures("qr", cameras=("c3",))), 0.3, seed=0)
    assert identities(divided.validation.gallery) <= set("abcdefgh")
    assert {image.camera for image in divided.validation.gallery} == {None}, "else all right answers were junk"
    assert len(divided.validation.query) == len(divided.validation.gallery) == 3


def test_a_joined_set_gives_identities_of_the_one_it_is_validated_on():
    joined = join_datasets(sets={"x": VehicleDataset("x", pictures("123")), "cars": LETTERS})
    divided = divide(joined, 0.25, seed=0)
    assert all(identity.startswith("cars/") for identity in identities(divided.validation.gallery))
    assert {"x/1", "x/2", "x/3"} <= identities(divided.train.train)
    assert divided.train.parts == joined.parts


@pytest.mark.parametrize("train", ["abc", "a", ""])
def test_too_few_identities_are_named_with_the_way_out(train):
    with pytest.raises(ReIDError, match=r"too few .*data\.validation=test"):
        divide(cars(pictures(train)), 0.1, seed=0)
