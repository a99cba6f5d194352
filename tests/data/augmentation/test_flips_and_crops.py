"""Flips, shifts and crops against slow loops, on one picture and on a batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from augmenting import IMAGES, PIXELS, seeded, some_boxes

from reid_lightning.data.augmentation import Flip, PadCrop, ResizedCrop
from reid_lightning.data.augmentation.boxes import draw_box
from reid_lightning.data.augmentation.geometry import enlarged_batch, shifted, shifted_batch
from reid_lightning.data.images.decoding import resize


def test_flip_mirrors_left_and_right():
    assert np.array_equal(Flip(1).on_picture(PIXELS, random.Random(0)), PIXELS[:, ::-1])
    assert Flip(0).on_picture(PIXELS, random.Random(0)) is PIXELS


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -4), (-2, 5), (19, 29), (-20, 0), (25, 3), (4, -31)])
def test_shifting_moves_every_pixel(down, right):
    expected = np.zeros_like(PIXELS)
    for y in range(20):
        for x in range(30):
            if 0 <= y - down < 20 and 0 <= x - right < 30:
                expected[y, x] = PIXELS[y - down, x - right]
    assert np.array_equal(shifted(PIXELS, down, right), expected)


def test_pad_crop_shifts_by_up_to_its_padding_every_way_equally_often():
    marked = np.zeros((21, 21, 3), np.uint8)
    marked[10, 10] = 255
    places = [np.argwhere(PadCrop(2).on_picture(marked, random.Random(seed))[..., 0])[0] - 10 for seed in range(2000)]
    shifts, counts = np.unique(places, axis=0, return_counts=True)
    assert shifts.tolist() == [[down, right] for down in range(-2, 3) for right in range(-2, 3)]
    assert counts.min() > 40 and counts.max() < 130  # 80 expected


def test_a_crop_is_a_box_enlarged():
    step = ResizedCrop(area=(0.4, 0.6), aspect=(0.7, 1.4))
    for seed in range(5):
        box = draw_box(random.Random(seed), 20, 30, area=(0.4, 0.6), aspect=(0.7, 1.4))
        cut = PIXELS[box.top : box.top + box.height, box.left : box.left + box.width]
        assert np.array_equal(step.on_picture(PIXELS, random.Random(seed)), resize(cut, 20, 30))


def test_a_crop_that_never_fits_leaves_the_picture_whole():
    impossible = ResizedCrop(area=(0.9, 1), aspect=(50, 60))
    assert impossible.on_picture(PIXELS, random.Random(0)) is PIXELS
    assert torch.equal(impossible.on_batch(IMAGES, seeded()), IMAGES)


def test_flipped_pictures_of_a_batch_are_mirrored_and_the_others_left():
    result = Flip(0.5).on_batch(IMAGES.repeat(8, 1, 1, 1), seeded())
    mirrored = [torch.equal(one, image.flip(1)) for one, image in zip(result, IMAGES.repeat(8, 1, 1, 1), strict=True)]
    plain = [torch.equal(one, image) for one, image in zip(result, IMAGES.repeat(8, 1, 1, 1), strict=True)]
    assert all(one != other for one, other in zip(mirrored, plain, strict=True))
    assert 8 < sum(mirrored) < 32


def test_shifting_a_batch_is_shifting_each_picture():
    down, right = torch.tensor([0, 3, -2, 19, -20]), torch.tensor([0, -4, 5, 29, 1])
    expected = [shifted(one.numpy(), *by) for one, *by in zip(IMAGES, down.tolist(), right.tolist(), strict=True)]
    assert np.array_equal(shifted_batch(IMAGES, down, right).numpy(), np.stack(expected))


def test_enlarging_a_batch_is_enlarging_each_box():
    boxes, batched = some_boxes()
    for image, box, result in zip(IMAGES, boxes, enlarged_batch(IMAGES, batched), strict=True):
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width].permute(2, 0, 1)[None]
        expected = torch.nn.functional.interpolate(cut, (20, 30), mode="bilinear", align_corners=False)
        torch.testing.assert_close(result, expected[0].permute(1, 2, 0), atol=1e-3, rtol=0)
