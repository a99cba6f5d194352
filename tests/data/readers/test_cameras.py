"""`data.test_cameras`: cameras that training never sees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reid_lightning.data.readers.cameras import keep_for_test
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError


def pictures(split: str, *names: str) -> Split:
    """From "identity/camera"."""
    return tuple(VehicleImage(Path(f"{split}/{name}"), *name.split("/")) for name in names)


DATASET = VehicleDataset(
    "set",
    train=pictures("train", "1/a", "1/b", "1/c", "2/b"),
    validation=pictures("val", "3/a", "3/b"),
    query=pictures("query", "4/a", "4/b", "5/c"),
    gallery=pictures("gallery", "4/a", "4/b", "4/c", "5/b", "5/c"),
    gt_index=((1, 2), (0, 2), (3,)),
    jk_index=((0,), (1,), (4,)),
)


def test_a_camera_for_the_test_is_in_nothing_else():
    kept = keep_for_test(DATASET, ["b", "c"])
    cameras = {
        split: [image.camera for image in getattr(kept, split)] for split in ("train", "validation", "query", "gallery")
    }
    assert cameras == {"train": ["a"], "validation": ["a"], "query": ["b", "c"], "gallery": ["b", "c", "b", "c"]}
    assert kept.gt_index == ((1,), (2,))
    assert kept.jk_index == ((0,), (3,))
    assert keep_for_test(DATASET, None) is DATASET


@pytest.mark.parametrize("index", [{}, {"gt_index": None, "jk_index": None}])
def test_one_camera_alone_has_no_right_answers(index):
    with pytest.raises(
        ReIDError, match=r"leaves no query of set with a right answer: .* before another of these cameras"
    ):
        keep_for_test(dataclasses.replace(DATASET, **index), "c")
    kept = keep_for_test(dataclasses.replace(DATASET, **index), ("b", "c"))
    assert [image.identity for image in kept.query] == ["4", "5"]
    assert (kept.gt_index is None) is bool(index)
    assert kept.name == "set, cameras b, c"


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (["a", "x"], "data.test_cameras: x is not a camera of the test pictures of set; expected some of a, b, c"),
        ([], "data.test_cameras: the empty list is not a camera"),
        (["a", "b", "c"], "leaves no training pictures of set; its cameras are a, b, c. Name fewer"),
    ],
)
def test_cameras_that_cannot_be_kept_are_refused(cameras, message):
    with pytest.raises(ReIDError, match=message):
        keep_for_test(DATASET, cameras)


@pytest.mark.parametrize(
    ("given", "what"),
    [({"gallery_draws": ((0,),)}, "a mean over random galleries"), ({"parts": (DATASET,)}, "joined of several sets")],
)
def test_sets_of_several_parts_have_no_cameras_to_choose(given, what):
    with pytest.raises(ReIDError, match=f"set is {what}, of which no cameras can be kept"):
        keep_for_test(dataclasses.replace(DATASET, **given), ["a"])
