"""Drawn boxes: where they lie, and the pixels that they cover."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from augmenting import seeded, some_boxes

from reid_lightning.data.augmentation.boxes import draw_below, draw_box, draw_boxes


def test_masks_cover_the_boxes():
    boxes, batched = some_boxes()
    for box, mask in zip(boxes, batched.mask(20, 30), strict=True):
        for y in range(20):
            for x in range(30):
                inside = box.top <= y < box.top + box.height and box.left <= x < box.left + box.width
                assert mask[y, x, 0] == inside


def test_boxes_lie_inside_with_the_area_and_aspect_asked_for_one_by_one_or_at_once():
    limits = {"area": (0.1, 0.4), "aspect": (0.5, 2.0)}
    singles = np.array([draw_box(random.Random(seed), 64, 48, **limits) for seed in range(3000)], dtype=float)
    batched = torch.stack(draw_boxes(3000, 64, 48, **limits, generator=seeded()), dim=1).double().numpy()
    for boxes in (singles, batched):
        top, left, height, width = boxes.T
        assert (top >= 0).all() and (left >= 0).all() and (top + height <= 64).all() and (left + width <= 48).all()
        share, aspect = height * width / (64 * 48), width / height
        assert share.min() > 0.09 and share.max() < 0.42
        assert aspect.min() > 0.45 and aspect.max() < 2.2
    np.testing.assert_allclose(singles.mean(axis=0), batched.mean(axis=0), rtol=0.05)
    np.testing.assert_allclose(singles.std(axis=0), batched.std(axis=0), rtol=0.05)


def test_whole_numbers_below_their_limits_are_equally_likely():
    drawn = draw_below(torch.full((6000,), 3), seeded())
    assert drawn.bincount().tolist() == pytest.approx([2000, 2000, 2000], abs=150)
    assert draw_below(torch.ones(100, dtype=torch.long), seeded()).eq(0).all()
