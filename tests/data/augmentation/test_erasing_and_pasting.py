"""Erased boxes and pasted patches against slow loops, on one picture and on a batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from augmenting import IMAGES, MEAN, PIXELS, seeded

from reid_lightning.data.augmentation import Erase, RandomPatch
from reid_lightning.data.augmentation.boxes import Box, Boxes
from reid_lightning.data.augmentation.occlusion import erased, pasted_batch


def test_erasing_paints_the_box_and_nothing_else():
    expected = PIXELS.copy()
    for y in range(4, 4 + 7):
        for x in range(11, 11 + 12):
            expected[y, x] = (124, 116, 104)  # 255 * (.485, .456, .406) = 123.7, 116.3, 103.5
    assert np.array_equal(erased(PIXELS, Box(4, 11, 7, 12), MEAN), expected)


def test_erasing_that_never_fits_leaves_the_picture_as_it_is():
    impossible = Erase(1, area=(0.9, 1), aspect=(50, 60), colour=MEAN)
    assert impossible.on_picture(PIXELS, random.Random(0)) is PIXELS
    assert torch.equal(impossible.on_batch(IMAGES, seeded()), IMAGES)


def test_erased_boxes_of_a_batch_become_exactly_zero_when_normalised():
    step = Erase(1, area=(0.1, 0.3), aspect=(0.5, 2), colour=MEAN)
    result = step.on_batch(IMAGES, seeded())
    painted = (result / 255 - torch.tensor(MEAN)).abs().amax(dim=-1) < 1e-6
    assert torch.equal(result[~painted], IMAGES[~painted])
    for mask in painted:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert mask.sum() == height * width, "the painted pixels form one box"


@pytest.mark.parametrize("mirrored", [False, True])
def test_pasting_lays_pieces_of_others_onto_places(mirrored):
    others = torch.tensor([3, 0, 4, 1, 2])
    pieces = [Box(0, 0, 20, 30), Box(3, 5, 11, 17), Box(19, 29, 1, 1), Box(2, 12, 5, 9), Box(0, 0, 0, 0)]
    places = [Box(0, 0, 20, 30), Box(9, 13, 11, 17), Box(0, 0, 1, 1), Box(15, 21, 5, 9), Box(7, 7, 0, 0)]
    expected = IMAGES.clone()
    for number, (piece, place) in enumerate(zip(pieces, places, strict=True)):
        for y in range(piece.height):
            for x in range(piece.width):
                column = piece.width - 1 - x if mirrored else x
                source = IMAGES[others[number], piece.top + y, piece.left + column]
                expected[number, place.top + y, place.left + x] = source
    result = pasted_batch(
        IMAGES,
        others,
        Boxes(*torch.tensor(pieces).T),
        Boxes(*torch.tensor(places).T),
        mirrored=torch.full((5,), mirrored),
    )
    assert torch.equal(result, expected)


def test_pieces_come_from_other_pictures():
    levels = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 20, 30, 3)  # a picture is its own number
    for seed in range(10):
        result = RandomPatch(1, area=(0.1, 0.5), aspect=(0.5, 2)).on_batch(levels, seeded(seed))
        for number, picture in enumerate(result):
            others = set(picture.unique().tolist()) - {number}
            assert len(others) == 1 and others < set(range(6))
    alone = RandomPatch(1, area=(0.1, 0.5), aspect=(0.5, 2)).on_batch(IMAGES[:1], seeded())
    assert torch.equal(alone, IMAGES[:1])
