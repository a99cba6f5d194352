"""Tracks: one number for a vehicle through gaps, other vehicles other numbers, each named once when it ends."""

from __future__ import annotations

import numpy as np
import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Detections
from reid_lightning.search.video.tracking import VehicleTracker


def boxes(*lefts: float, top: float = 50, scores: tuple[float, ...] | None = None, kind: str = "car") -> Detections:
    """Cars of 60 x 40 pixels."""
    table = np.array([[left, top, left + 60, top + 40] for left in lefts], np.float32).reshape(-1, 4)
    return Detections(table, np.array(scores or [0.9] * len(lefts), np.float32), (kind,) * len(lefts))


def test_two_cars_that_meet_keep_their_numbers_in_the_order_of_appearance():
    tracker = VehicleTracker(frame_rate=10)
    for number in range(30):
        one, other = boxes(10 + 8 * number), boxes(400 - 8 * number, top=95)
        both = Detections(
            np.concatenate([other.boxes, one.boxes] if number >= 5 else [one.boxes]),
            np.full(2 if number >= 5 else 1, 0.9, np.float32),
            ("car", "car") if number >= 5 else ("car",),
        )
        tracked = tracker.update(both, seconds=number / 10)
        assert [box.track for box in tracked] == ([] if number == 0 else [1] if number <= 5 else [1, 2])
        if tracked:
            np.testing.assert_array_equal(tracked[0].box, one.boxes[0])  # as detected, not smoothed
        if len(tracked) == 2:
            np.testing.assert_array_equal(tracked[1].box, other.boxes[0])
        assert tracker.finished() == []
    assert tracker.close() == [1, 2]
    assert tracker.close() == [] and tracker.finished() == []


@pytest.mark.parametrize("timed", [True, False])
def test_a_track_ends_when_its_time_has_run_out_and_is_named_once(timed: bool):
    tracker = VehicleTracker(frame_rate=10, lost_seconds=1.0)
    ended = {}
    for number in range(40):
        present = number < 5 or 10 <= number < 15  # hidden for half a second, then gone
        found = boxes(10 + 3 * number) if present else Detections.none()
        tracked = tracker.update(found, seconds=number / 10 if timed else None)
        assert [box.track for box in tracked] == ([1] if present and number > 0 else [])
        for track in tracker.finished():
            assert track not in ended
            ended[track] = number
    assert list(ended) == [1] and 24 <= ended[1] <= 26  # last seen in frame 14


def test_who_comes_back_too_late_is_a_new_track():
    tracker = VehicleTracker(frame_rate=10, lost_seconds=0.5)
    seen, ended = set(), []
    for number in range(40):
        found = boxes(10) if number < 5 or number >= 20 else Detections.none()
        seen |= {box.track for box in tracker.update(found, seconds=number / 10)}
        ended += tracker.finished()
    assert seen == {1, 2} and ended == [1] and tracker.close() == [2]


def test_a_single_detection_and_weak_ones_begin_no_track():
    tracker = VehicleTracker(frame_rate=10)
    assert [tracker.update(boxes(10) if number == 3 else Detections.none()) for number in range(20)] == [[]] * 20
    assert [tracker.update(boxes(10, scores=(0.35,))) for _ in range(20)] == [[]] * 20
    assert tracker.finished() == [] and tracker.close() == []


def test_a_weak_detection_goes_on_with_a_track():
    tracker = VehicleTracker(frame_rate=10)
    scores = [0.9, 0.9, 0.2, 0.2, 0.9]
    tracks = [[box.track for box in tracker.update(boxes(10, scores=(score,)))] for score in scores]
    assert tracks == [[], [1], [1], [1], [1]]


@pytest.mark.parametrize("every", [1, 2, 5])
def test_every_fifth_frame_is_enough_for_a_car_that_moves_by_half_its_length(every: int):
    tracker = VehicleTracker(frame_rate=25 / every)
    tracks = [
        box.track
        for number in range(0, 60, every)
        for box in tracker.update(boxes(10 + 7 * number), seconds=number / 25)
    ]
    assert set(tracks) == {1} and len(tracks) == len(range(0, 60, every)) - 1


def test_score_and_type_are_those_of_the_frame():
    tracker = VehicleTracker()
    tracker.update(boxes(10))
    [one] = tracker.update(boxes(11, scores=(0.8,), kind="truck"))
    [other] = tracker.update(boxes(12, scores=(0.7,), kind="car"))
    assert (one.type, other.type) == ("truck", "car")
    assert (one.score, other.score) == (pytest.approx(0.8), pytest.approx(0.7))


def test_the_same_detections_give_the_same_tracks_again():
    def run(tracker: VehicleTracker) -> list[tuple[int, float]]:
        generator = np.random.default_rng(3)
        seen = []
        for number in range(50):
            lefts = np.arange(6) * 70 + 2 * number + generator.normal(0, 4, 6)
            kept = lefts[generator.random(6) > 0.3]
            tracked = tracker.update(boxes(*kept), seconds=number / 25)
            seen += [(box.track, float(box.box[0])) for box in tracked]
            seen += [(track, -1.0) for track in tracker.finished()]
        return seen

    first = run(VehicleTracker())
    assert run(VehicleTracker()) == first
    assert len({track for track, _ in first}) >= 6


def test_a_second_source_goes_on_counting_after_close():
    tracker = VehicleTracker()
    for _ in range(2):
        tracker.update(boxes(10))
    assert tracker.close() == [1]
    tracker.update(boxes(10))
    assert [box.track for box in tracker.update(boxes(10))] == [2]


@pytest.mark.parametrize(
    "arguments",
    [{"frame_rate": 0}, {"frame_rate": float("nan")}, {"lost_seconds": -1}, {"min_iou": 2}, {"sure_score": -1}],
)
def test_arguments_out_of_range_are_named(arguments: dict):
    with pytest.raises(ReIDError, match=next(iter(arguments))):
        VehicleTracker(**arguments)
