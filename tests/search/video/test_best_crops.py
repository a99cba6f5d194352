"""The pictures kept of a track: good ones, spread over time, few however long it is."""

from __future__ import annotations

import numpy as np
import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Frame, TrackedBox
from reid_lightning.search.video.best_crops import BestCrops, crop_quality, sharpness, visible_share

NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)


def tracked(*box: float) -> TrackedBox:
    return TrackedBox(1, np.array(box, np.float32), 0.9, "car")


def frame(number: int, picture: np.ndarray = NOISE) -> Frame:
    return Frame(picture, number, number / 10)


def add_sides(crops: BestCrops, sides: list[int]) -> BestCrops:
    """Frame n shows a square vehicle of `sides[n]` pixels; larger is better."""
    for number, side in enumerate(sides):
        crops.add(frame(number), tracked(50, 50, 50 + side, 50 + side))
    return crops


class TestQuality:
    def test_it_is_a_product(self):
        box = np.array([50, 50, 162, 170], np.float32)
        whole = crop_quality(frame(0), box)
        assert whole == pytest.approx(112 / 224 * sharpness(NOISE[50:170, 50:162]))
        hiding = np.array([50, 110, 162, 200], np.float32)  # the lower half, from in front
        assert crop_quality(frame(0), box, [hiding]) == pytest.approx(whole / 2, rel=0.05)

    def test_a_vehicle_cut_by_the_edge_counts_half(self):
        flat = Frame(np.tile(np.array([[0, 255], [255, 0]], np.uint8)[..., None], (100, 100, 3)), 0)
        inside, cut = np.array([50, 50, 98, 98], np.float32), np.array([0, 50, 48, 98], np.float32)
        assert crop_quality(flat, cut) == pytest.approx(crop_quality(flat, inside) / 2)

    def test_size_counts_up_to_224_pixels(self):
        picture = np.zeros((600, 600, 3), np.uint8)
        picture[:, ::2] = 255
        wide, wider = (np.array([5, 5, 5 + side, 5 + side], np.float32) for side in (224, 448))
        assert crop_quality(Frame(picture, 0), wide) <= sharpness(picture[5:229, 5:229]) + 1e-6
        assert crop_quality(Frame(picture, 0), wider) == pytest.approx(sharpness(picture[5:453, 5:453]))

    def test_sharpness_falls_with_blur_from_one_to_nothing(self):
        blurred = NOISE.astype(np.float64)
        values = [sharpness(NOISE)]
        for _ in range(4):
            blurred = sum(np.roll(blurred, (down, aside), (0, 1)) for down in (-2, 0, 2) for aside in (-2, 0, 2)) / 9
            values.append(sharpness(blurred.astype(np.uint8)))
        assert values == sorted(values, reverse=True) and 0.5 < values[0] <= 1
        assert sharpness(np.full((40, 40, 3), 90, np.uint8)) == 0.0

    def test_only_boxes_in_front_hide(self):
        box = np.array([0, 0, 100, 100], np.float32)
        behind, before = np.array([50, -20, 150, 90], np.float32), np.array([50, 20, 150, 120], np.float32)
        assert visible_share(box, []) == visible_share(box, [behind]) == 1.0
        assert visible_share(box, [before]) == pytest.approx(1 - 0.5 * 0.8, abs=0.02)
        assert visible_share(box, [before, before]) == visible_share(box, [before])
        assert visible_share(box, [np.array([-1, -1, 101, 101], np.float32)]) == 0.0


class TestBestCrops:
    def test_a_short_track_keeps_all_in_the_order_of_time(self):
        kept = add_sides(BestCrops(keep=5), [30, 60, 40]).best()
        assert [crop.frame for crop in kept] == [0, 1, 2]
        assert [crop.seconds for crop in kept] == pytest.approx([0.0, 0.1, 0.2])
        assert all(0 < crop.quality <= 1 and crop.score == 0.9 for crop in kept)

    def test_the_best_of_a_track_is_always_kept(self):
        sides = [40] * 500
        sides[333] = 120
        kept = add_sides(BestCrops(keep=3), sides).best()
        assert len(kept) == 3 and 333 in [crop.frame for crop in kept]

    @pytest.mark.parametrize("count", [37, 200, 1000])
    def test_pictures_are_spread_over_a_track_of_equal_ones(self, count: int):
        picture = np.zeros((100, 100, 3), np.uint8)
        picture[::2] = 255
        crops = BestCrops(keep=4)
        for number in range(count):
            side = 40 + 10 * (number % 8 == 7)  # just before the border of a slice
            crops.add(frame(number, picture), tracked(20, 20, 20 + side, 20 + side))
        numbers = [crop.frame for crop in crops.best()]
        assert len(numbers) == 4 and numbers == sorted(numbers)
        assert min(np.diff(numbers)) >= count / 32  # a slice is a sixteenth of the time at least, half of it apart

    @pytest.mark.parametrize("keep", [1, 5])
    def test_memory_is_bounded_and_holds_copies_only(self, keep: int):
        crops = BestCrops(keep=keep)
        for number in range(300):
            picture = NOISE.copy()
            crops.add(frame(number, picture), tracked(50, 50, 90, 90 + number % 7))
            picture[:] = 0  # whoever reads frames may use the memory again
            assert len(crops._slices) <= 2 * keep
        kept = crops.best()
        assert len(kept) == keep
        assert all(crop.picture.base is None and crop.picture.any() for crop in kept)

    def test_the_margin_widens_the_picture_and_not_the_box(self):
        [plain] = add_sides(BestCrops(keep=1, margin=0.0), [100]).best()
        [wide] = add_sides(BestCrops(keep=1, margin=0.1), [100]).best()
        assert plain.picture.shape == (100, 100, 3) and wide.picture.shape == (120, 120, 3)
        np.testing.assert_array_equal(plain.box, wide.box)
        np.testing.assert_array_equal(wide.picture[10:110, 10:110], plain.picture)

    def test_a_hidden_vehicle_gives_way_to_a_visible_one(self):
        crops = BestCrops(keep=1)
        crops.add(frame(0), tracked(50, 50, 150, 150), [np.array([60, 60, 300, 250], np.float32)])
        crops.add(frame(1), tracked(50, 50, 140, 140))
        assert [crop.frame for crop in crops.best()] == [1]

    def test_nothing_added_is_nothing_kept(self):
        assert BestCrops().best() == []

    @pytest.mark.parametrize("arguments", [{"keep": 0}, {"margin": -0.1}])
    def test_arguments_out_of_range_are_named(self, arguments: dict):
        with pytest.raises(ReIDError, match=next(iter(arguments))):
            BestCrops(**arguments)
