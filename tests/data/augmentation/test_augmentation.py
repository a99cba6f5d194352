"""What holds for every augmentation step: its seed decides, a batch is as pictures are, wrong settings are named."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from augmenting import IMAGES, JITTER, MEAN, PIXELS, seeded
from torch import Tensor
from torchvision.transforms import v2

from reid_lightning.data.augmentation import ColourJitter, Erase, Flip, PadCrop, RandomPatch, ResizedCrop, Torchvision
from reid_lightning.errors import ReIDError

STEPS = [
    Flip(0.5),
    PadCrop(4),
    ResizedCrop(area=(0.5, 1), aspect=(0.8, 1.25)),
    Erase(0.5, area=(0.02, 0.3), aspect=(0.3, 3.3), colour=MEAN),
    JITTER,
]
ON_PICTURE = [*STEPS, Torchvision(v2.RandAugment()), Torchvision(v2.AutoAugment(), probability=0.5)]
ON_BATCH = [*STEPS, RandomPatch(0.5, area=(0.01, 0.5), aspect=(0.1, 10))]


def name_of(step: object) -> str:
    return type(step).__name__


@pytest.mark.parametrize("step", ON_PICTURE, ids=name_of)
def test_a_picture_depends_on_its_seed_alone_and_the_input_is_left_alone(step):
    original = PIXELS.copy()
    results = []
    for seed in range(12):
        result = step.on_picture(original, random.Random(seed))
        torch.rand(3)  # whatever else happens in the process
        again = step.on_picture(original, random.Random(seed))
        assert np.array_equal(result, again)
        assert result.dtype == np.uint8 and result.shape == PIXELS.shape
        results.append(result.tobytes())
    assert len(set(results)) > 1, "different seeds must do different things"
    assert np.array_equal(original, PIXELS)


def test_policies_of_torchvision_neither_follow_nor_move_the_global_generator():
    step = Torchvision(v2.RandAugment())
    torch.manual_seed(1)
    first = step.on_picture(PIXELS, random.Random(5))
    after_first = torch.rand(4)
    torch.manual_seed(2)
    assert np.array_equal(step.on_picture(PIXELS, random.Random(5)), first)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(4), after_first)


@pytest.mark.parametrize("transform", [v2.Resize((10, 10)), v2.ToDtype(torch.float32), lambda picture: picture.numpy()])
def test_transforms_that_change_size_or_type_are_refused(transform):
    with pytest.raises(ReIDError, match="only transforms that keep type and size"):
        Torchvision(transform).on_picture(PIXELS, random.Random(0))


@pytest.mark.parametrize("step", ON_BATCH, ids=name_of)
def test_a_batch_depends_on_its_seed_alone_and_keeps_its_shape(step):
    original = IMAGES.clone()
    results = []
    for seed in range(6):
        result = step.on_batch(original, seeded(seed))
        torch.rand(3)
        assert torch.equal(result, step.on_batch(original, seeded(seed)))
        assert result.shape == IMAGES.shape and result.dtype == torch.float32
        results.append(result.numpy().tobytes())
    assert len(set(results)) == 6
    assert torch.equal(original, IMAGES)


@pytest.mark.parametrize("step", STEPS, ids=name_of)
def test_pictures_and_batches_have_the_same_distribution(step):
    image = torch.from_numpy(PIXELS).float()
    batch = step.on_batch(image.expand(1000, -1, -1, -1), seeded()).double()
    singles = torch.stack(
        [torch.from_numpy(step.on_picture(PIXELS, random.Random(seed)).copy()) for seed in range(1000)]
    ).double()
    statistics: list[Callable[[Tensor], Tensor]] = [
        lambda images: images.mean(dim=(1, 2, 3)),
        lambda images: images.std(dim=(1, 2, 3)),
        lambda images: images[:, :10].mean(dim=(1, 2, 3)) - images[:, 10:].mean(dim=(1, 2, 3)),
        lambda images: images[:, :, :15].mean(dim=(1, 2, 3)) - images[:, :, 15:].mean(dim=(1, 2, 3)),
        lambda images: images[..., 0].mean(dim=(1, 2)) - images[..., 2].mean(dim=(1, 2)),
    ]
    for statistic in statistics:
        one, other = statistic(batch), statistic(singles)
        spread = max(float(one.std()), float(other.std()))
        assert float(one.mean()) == pytest.approx(float(other.mean()), abs=0.2 * spread + 0.05)
        assert float(one.std()) == pytest.approx(float(other.std()), rel=0.15, abs=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("step", ON_BATCH, ids=name_of)
def test_steps_on_a_batch_never_wait_for_the_device(step):
    device = torch.device("cuda")
    images, generator = IMAGES.to(device), torch.Generator(device).manual_seed(0)
    step.on_batch(images, generator)  # constants are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.on_batch(images, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flip(1.5), "Flip.probability is 1.5"),
        (lambda: PadCrop(-1), "PadCrop.padding is -1"),
        (lambda: PadCrop(2.5), "PadCrop.padding is 2.5"),
        (lambda: ResizedCrop(area=(0.5, 1.5), aspect=(1, 1)), r"ResizedCrop.area is \[0.5, 1.5\].*at most 1"),
        (lambda: ResizedCrop(area=(0.5, 1), aspect=(2, 1)), "ResizedCrop.aspect"),
        (lambda: Erase(0.5, area=(0, 1), aspect=(1, 1), colour=MEAN), "Erase.area.*above 0"),
        (lambda: Erase(0.5, area=0.3, aspect=(1, 1), colour=MEAN), "Erase.area is 0.3; expected two numbers"),
        (lambda: Erase(0.5, area=(0.1, 0.2), aspect=(1, 1), colour=(124, 116, 104)), "Erase.colour.*from 0 to 1"),
        (lambda: Erase(0.5, area=(0.1, 0.2), aspect=(1, 1), colour="mean"), "Erase.colour is 'mean'"),
        (lambda: RandomPatch("half", area=(0.1, 0.2), aspect=(1, 1)), "RandomPatch.probability is 'half'"),
        (lambda: ColourJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=-0.1), "ColourJitter.hue is -0.1"),
        (lambda: Torchvision(v2.RandAugment(), probability=2), "Torchvision.probability is 2"),
    ],
)
def test_wrong_settings_are_named(make, words):
    with pytest.raises(ReIDError, match=words):
        make()
