"""Training, query and gallery of data sets that bring no protocol of their own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from reid_lightning.data.readers.splits import build_dataset, fold_by_identity, query_gallery, split_by_identity
from reid_lightning.data.records import Split, VehicleImage
from reid_lightning.errors import ReIDError


def pictures(*names: str) -> Split:
    """Records from "identity/camera/number", or "identity/-/number" where it is unknown."""
    fields = [name.split("/") for name in names]
    return tuple(
        VehicleImage(Path(name), identity, None if camera == "-" else camera)
        for name, (identity, camera, _) in zip(names, fields, strict=True)
    )


def names(split: Split) -> list[str]:
    return [image.path.as_posix() for image in split]


MANY = pictures(*(f"car{identity}/{camera}/{n}" for identity in range(40) for camera in "ab" for n in range(2)))


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_identities_are_disjoint_and_nothing_is_lost(fraction):
    train, test = split_by_identity(MANY, test_fraction=fraction, seed=3)
    assert sorted(names(train) + names(test)) == sorted(names(MANY))
    assert len({image.identity for image in test}) == round(fraction * 40)
    assert not {image.identity for image in train} & {image.identity for image in test}


def test_the_split_depends_on_the_seed_alone():
    shuffled = list(MANY)
    random.Random(1).shuffle(shuffled)
    first = {image.identity for image in split_by_identity(MANY, test_fraction=0.5, seed=0)[1]}
    assert {image.identity for image in split_by_identity(shuffled, test_fraction=0.5, seed=0)[1]} == first
    assert {image.identity for image in split_by_identity(MANY, test_fraction=0.5, seed=1)[1]} != first


def test_the_split_stays_the_same_for_good():
    """Published numbers name only the seed, so the choice may never change."""
    test = split_by_identity(pictures("a/-/1", "b/-/1", "c/-/1", "d/-/1", "e/-/1", "f/-/1"), test_fraction=0.5, seed=0)[
        1
    ]
    assert names(test) == ["a/-/1", "d/-/1", "f/-/1"]


def test_both_sides_get_an_identity():
    two = pictures("a/1/1", "b/1/1")
    for fraction in (0.01, 0.99):
        train, test = split_by_identity(two, test_fraction=fraction, seed=0)
        assert len(train) == len(test) == 1
    with pytest.raises(ReIDError, match="1 identity cannot be divided"):
        split_by_identity(two[:1], test_fraction=0.5, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, 40])
def test_a_fraction_outside_0_to_1_is_an_error(fraction):
    with pytest.raises(ReIDError, match=f"data.test_fraction is {fraction}"):
        split_by_identity(MANY, test_fraction=fraction, seed=0)


@pytest.mark.parametrize("fraction", ["abc", "0.5", None, True, [0.5], float("nan")])
def test_a_fraction_that_is_no_number_is_an_error(fraction):
    with pytest.raises(ReIDError, match=r"data\.test_fraction is .*; expected a number from 0 to 1"):
        split_by_identity(MANY, test_fraction=fraction, seed=0)


@pytest.mark.parametrize("seed", ["abc", "0", None, 1.0, True])
def test_a_seed_that_is_no_whole_number_is_an_error(seed):
    with pytest.raises(ReIDError, match=r"data\.seed is .*; expected a whole number"):
        split_by_identity(MANY, test_fraction=0.5, seed=seed)


TEST = pictures("x/1/a", "x/1/b", "x/2/a", "y/1/a", "y/3/a", "y/3/b", "lone/2/a", "still/2/a", "still/2/b")


def test_one_query_for_each_identity_and_camera_and_all_pictures_in_the_gallery():
    query, gallery = query_gallery(TEST)
    assert names(query) == ["x/1/a", "x/2/a", "y/1/a", "y/3/a"]  # lone and still are seen by one camera: gallery only
    assert gallery == TEST


def test_every_query_has_a_match_under_another_camera():
    query, gallery = query_gallery(MANY)
    assert len(query) == 80
    for image in query:
        assert any(other.identity == image.identity and other.camera != image.camera for other in gallery)


@pytest.mark.parametrize(
    ("query_cameras", "gallery_cameras", "expected_query", "expected_gallery"),
    [
        ([1], [2], "1", "2"),
        (["1"], ["2", "3"], "1", "23"),
        (1, "2", "1", "2"),
        ([1], None, "1", "23"),
        (None, (3,), "12", "3"),
        ([1, 2], [2, 3], "12", "23"),
    ],
)
def test_camera_lists(query_cameras, gallery_cameras, expected_query, expected_gallery):
    query, gallery = query_gallery(TEST, query_cameras=query_cameras, gallery_cameras=gallery_cameras)
    assert names(query) == [image.path.as_posix() for image in TEST if image.camera in expected_query]
    assert names(gallery) == [image.path.as_posix() for image in TEST if image.camera in expected_gallery]


@pytest.mark.parametrize(
    ("query_cameras", "gallery_cameras", "message"),
    [
        ([1, 7], None, r"data.query_cameras: 7 is not a camera .* expected some of 1, 2, 3"),
        ([1], ["02"], "data.gallery_cameras: 02 is not"),
        ([], None, "data.query_cameras: the empty list"),
        ([1, 2, 3], None, "leave no gallery"),
        (None, [1, 2, 3], "leave no query"),
    ],
)
def test_camera_lists_that_fit_no_picture(query_cameras, gallery_cameras, message):
    with pytest.raises(ReIDError, match=message):
        query_gallery(TEST, query_cameras=query_cameras, gallery_cameras=gallery_cameras)


def test_without_cameras_the_first_picture_asks_and_the_others_answer():
    query, gallery = query_gallery(pictures("x/-/a", "y/-/a", "x/-/b", "lone/-/a", "y/-/b", "x/-/c"))
    assert names(query) == ["x/-/a", "y/-/a"]
    assert names(gallery) == ["x/-/b", "lone/-/a", "y/-/b", "x/-/c"]


def test_pictures_that_allow_no_query_are_an_error():
    with pytest.raises(ReIDError, match="None of the 2 test identities is seen by two cameras"):
        query_gallery(pictures("x/1/a", "x/1/b", "y/2/a"))
    with pytest.raises(ReIDError, match="None of the 2 test identities has a second picture"):
        query_gallery(pictures("x/-/a", "y/-/a"))
    with pytest.raises(ReIDError, match="1 of 3 test pictures have no camera, such as x/-/b"):
        query_gallery(pictures("x/1/a", "x/-/b", "y/2/a"))
    with pytest.raises(ReIDError, match="need a camera for every test picture"):
        query_gallery(pictures("x/-/a", "x/-/b"), query_cameras=[1])
    assert query_gallery(()) == ((), ())


def test_without_split_words_identities_are_drawn():
    dataset = build_dataset("cars", MANY, splits=[None] * len(MANY), test_fraction=0.25, seed=5)
    train, test = split_by_identity(MANY, test_fraction=0.25, seed=5)
    assert dataset.name == "cars"
    assert dataset.train == train
    assert (dataset.query, dataset.gallery) == query_gallery(test)


def test_split_words():
    images = pictures("t/1/a", "x/1/a", "x/2/a", "y/1/a", "y/2/a")
    dataset = build_dataset("cars", images, splits=["train", "TEST", "test", "val", "Val"])
    assert names(dataset.train) == ["t/1/a"]
    assert (names(dataset.query), names(dataset.validation)) == (["x/1/a", "x/2/a"], ["y/1/a", "y/2/a"])
    dataset = build_dataset("cars", images, splits=["train", "VAL", "val", "val", "Val"])
    assert names(dataset.query) == ["x/1/a", "x/2/a", "y/1/a", "y/2/a"] and not dataset.validation
    dataset = build_dataset("cars", images, splits=["val", "query", "gallery", "val", "query"])
    assert (names(dataset.gallery), names(dataset.validation)) == (["x/2/a"], ["t/1/a", "y/1/a"])
    dataset = build_dataset("cars", images, splits=["train", "query", "gallery", "gallery", "query"])
    assert (names(dataset.query), names(dataset.gallery)) == (["x/1/a", "y/2/a"], ["x/2/a", "y/1/a"])
    dataset = build_dataset("cars", images, splits=["train", "query", "test", "gallery", "query"])
    assert names(dataset.gallery) == ["y/1/a", "x/2/a"]
    dataset = build_dataset("cars", images, splits=["train", "test", "test", "test", "test"], query_cameras=[1])
    assert (names(dataset.query), names(dataset.gallery)) == (["x/1/a", "y/1/a"], ["x/2/a", "y/2/a"])


@pytest.mark.parametrize(
    ("splits", "cameras", "message"),
    [
        (["train", "probe"], None, "its split is 'probe'; expected one of train, query"),
        (["train", None], None, "its split is None"),
        (["train", "query"], None, 'marked "query" but none "gallery"'),
        (["train", "gallery"], None, 'marked "gallery" but none "query"'),
        (["gallery", "query"], [1], "remove data.query_cameras"),
    ],
)
def test_split_words_that_make_no_sense(splits, cameras, message):
    with pytest.raises(ReIDError, match=message):
        build_dataset("cars", pictures("x/1/a", "x/2/a"), splits=splits, query_cameras=cameras)


def test_each_identity_is_test_in_one_fold():
    tests = [fold_by_identity(MANY, f"{number}/7", seed=1) for number in range(1, 8)]
    for train, test in tests:
        assert sorted(names(train) + names(test)) == sorted(names(MANY))
        assert not {image.identity for image in train} & {image.identity for image in test}
        assert len({image.identity for image in test}) in (5, 6)
    assert sorted(name for _, test in tests for name in names(test)) == sorted(names(MANY))
    assert names(fold_by_identity(MANY, "1/7", seed=2)[1]) != names(tests[0][1])


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "2", "1/41", "a/b"])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(ReIDError, match=f"data.fold is '{fold}'; expected .* such as 1/5"):
        fold_by_identity(MANY, fold, seed=0)


def test_a_fold_of_pictures_that_say_their_split_is_refused():
    with pytest.raises(ReIDError, match=r"data\.fold=1/5 divides the identities, and the pictures already say"):
        build_dataset("set", MANY, splits=["train"] * len(MANY), fold="1/5")
