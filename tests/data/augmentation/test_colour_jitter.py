"""Changes of colour against the formulas that the docstring lists, on one picture and on a batch."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from augmenting import IMAGES, JITTER, PIXELS, seeded

from reid_lightning.data.augmentation import ColourJitter


def jittered(pixels: np.ndarray, *, brightness: float, contrast: float, saturation: float, angle: float) -> np.ndarray:
    """One change after the other, as the docstring lists them; the hue as a rotation of I and Q."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    levels = pixels.astype(np.float64) * brightness
    levels = levels.mean(axis=(0, 1)) @ to_yiq[0] * (1 - contrast) + levels * contrast
    luma = (levels @ to_yiq[0])[..., None]
    levels = luma + (levels - luma) * saturation
    y, i, q = np.moveaxis(levels @ to_yiq.T, -1, 0)
    i, q = i * math.cos(angle) - q * math.sin(angle), i * math.sin(angle) + q * math.cos(angle)
    return (np.stack([y, i, q], axis=-1) @ np.linalg.inv(to_yiq).T).clip(0, 255)


@pytest.mark.parametrize("seed", range(4))
def test_colours_change_as_described(seed):
    draw = random.Random(seed)
    draw.random()  # whether at all
    brightness, contrast, saturation = (1 + draw.uniform(-most, most) for most in (0.3, 0.4, 0.5))
    angle = 2 * math.pi * draw.uniform(-0.1, 0.1)
    expected = jittered(PIXELS, brightness=brightness, contrast=contrast, saturation=saturation, angle=angle)
    assert np.abs(JITTER.on_picture(PIXELS, random.Random(seed)) - expected).max() <= 0.51


def test_brightness_by_hand():
    grey = np.full((4, 4, 3), 100, np.uint8)
    draw = random.Random(7)
    draw.random()
    factor = 1 + draw.uniform(-0.5, 0.5)
    step = ColourJitter(brightness=0.5, contrast=0, saturation=0, hue=0)
    assert np.all(step.on_picture(grey, random.Random(7)) == round(100 * factor))
    hue_only = ColourJitter(brightness=0, contrast=0, saturation=1, hue=0.5)
    assert np.all(hue_only.on_picture(grey, random.Random(7)) == 100), "grey has no colour to change"


def test_colours_of_a_batch_change_as_described():
    generator = seeded(3)
    torch.rand(5, 1, 1, 1, generator=generator)  # whether at all
    draws = 2 * torch.rand(5, 4, generator=generator, dtype=torch.float32).double() - 1
    for image, draw, result in zip(IMAGES, draws.numpy(), JITTER.on_batch(IMAGES, seeded(3)), strict=True):
        expected = jittered(
            image.numpy(),
            brightness=1 + 0.3 * draw[0],
            contrast=1 + 0.4 * draw[1],
            saturation=1 + 0.5 * draw[2],
            angle=2 * math.pi * 0.1 * draw[3],
        )
        np.testing.assert_allclose(result.numpy(), expected, atol=2e-3)


def test_a_share_of_the_pictures_keeps_its_colours():
    step = ColourJitter(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1, probability=0.5)
    images = IMAGES.repeat(8, 1, 1, 1)
    same = (step.on_batch(images, seeded()) - images).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert 8 < int(same.sum()) < 32
