"""Augmentation steps against slow loops: on one picture, on a batch, and in what they draw."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from reid_lightning.data.augmentation import ColourJitter, Erase, Flip, PadCrop, RandomPatch, ResizedCrop, Torchvision
from reid_lightning.data.augmentation.boxes import Box, Boxes, draw_below, draw_box, draw_boxes
from reid_lightning.data.augmentation.geometry import enlarged_batch, shifted, shifted_batch
from reid_lightning.data.augmentation.occlusion import erased, pasted_batch
from reid_lightning.data.images.decoding import resize
from reid_lightning.errors import ReIDError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
IMAGES = torch.randint(0, 256, (5, 20, 30, 3), generator=torch.Generator().manual_seed(1)).float()
MEAN = (0.485, 0.456, 0.406)

JITTER = ColourJitter(brightness=0.3, contrast=0.4, saturation=0.5, hue=0.1)
STEPS = [
    Flip(0.5),
    PadCrop(4),
    ResizedCrop(area=(0.5, 1), aspect=(0.8, 1.25)),
    Erase(0.5, area=(0.02, 0.3), aspect=(0.3, 3.3), colour=MEAN),
    JITTER,
]
ON_PICTURE = [*STEPS, Torchvision(v2.RandAugment()), Torchvision(v2.AutoAugment(), probability=0.5)]
ON_BATCH = [*STEPS, RandomPatch(0.5, area=(0.01, 0.5), aspect=(0.1, 10))]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def name_of(step: object) -> str:
    return type(step).__name__


# one picture


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


# a batch


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


def some_boxes() -> tuple[list[Box], Boxes]:
    boxes = [Box(0, 0, 20, 30), Box(3, 5, 11, 17), Box(19, 29, 1, 1), Box(0, 12, 20, 9), Box(8, 0, 1, 30)]
    return boxes, Boxes(*torch.tensor(boxes).T)


def test_enlarging_a_batch_is_enlarging_each_box():
    boxes, batched = some_boxes()
    for image, box, result in zip(IMAGES, boxes, enlarged_batch(IMAGES, batched), strict=True):
        cut = image[box.top : box.top + box.height, box.left : box.left + box.width].permute(2, 0, 1)[None]
        expected = torch.nn.functional.interpolate(cut, (20, 30), mode="bilinear", align_corners=False)
        torch.testing.assert_close(result, expected[0].permute(1, 2, 0), atol=1e-3, rtol=0)


def test_masks_cover_the_boxes():
    boxes, batched = some_boxes()
    for box, mask in zip(boxes, batched.mask(20, 30), strict=True):
        for y in range(20):
            for x in range(30):
                inside = box.top <= y < box.top + box.height and box.left <= x < box.left + box.width
                assert mask[y, x, 0] == inside


def test_erased_boxes_of_a_batch_become_exactly_zero_when_normalised():
    step = Erase(1, area=(0.1, 0.3), aspect=(0.5, 2), colour=MEAN)
    result = step.on_batch(IMAGES, seeded())
    painted = (result / 255 - torch.tensor(MEAN)).abs().amax(dim=-1) < 1e-6
    assert torch.equal(result[~painted], IMAGES[~painted])
    for mask in painted:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert mask.sum() == height * width, "the painted pixels form one box"


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


# what is drawn


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


# settings


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
