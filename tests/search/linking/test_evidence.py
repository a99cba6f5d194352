"""Weights of evidence by hand, what cannot be, thresholds from answers and strangers, and questions worth asking."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_calibration import calibration

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.evidence import UNALIKE, Exclusions, Rules, differ_by_one, plates
from reid_lightning.search.linking.problem import Problem
from reid_lightning.search.linking.review import questions, score_of
from reid_lightning.search.linking.thresholds import recalibrated, threshold_for_links, threshold_of_strangers
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes

TIMES = TravelTimes({("north", "south"): TravelTime(60.0, 0.25)})


def seen(name: str = "a", camera: str = "north", start: float | None = 0.0, **values: object) -> Seen:
    end = None if start is None else start + 4.0
    return Seen(name, f"unknown-{name}", camera, "car", start, end, **values)


def test_looks_are_worth_more_the_more_alike_and_little_when_not() -> None:
    rules = Rules(0.7, steepness=40.0)
    assert rules.looks(np.array([0.8, 0.7, 0.65, -0.5])) == pytest.approx([4.0, 0.0, -2.0, UNALIKE])


@pytest.mark.parametrize(
    ("one", "other", "weight"),
    [
        ((None, 0.0), ("AB12CDE", 0.99), 0.0),
        (("AB12CDE", 0.95), ("AB12CDE", 0.91), 100.0),
        (("AB12CDE", 0.8), ("AB12CDE", 0.7), math.log(0.56 / 0.001)),
        (("AB12CDE", 0.8), ("AB12CDF", 0.7), math.log(0.5 * 0.44 / 0.01)),
        (("AB12CDE", 0.8), ("XY99ZZZ", 0.7), math.log(0.44)),
        (("AB12CDE", 1.0), ("XY99ZZZ", 1.0), UNALIKE),
    ],
)
def test_plates_by_hand(one: tuple[str | None, float], other: tuple[str, float], weight: float) -> None:
    a, b = (seen(plate=text, plate_confidence=sure) for text, sure in (one, other))
    assert plates(a, b) == pytest.approx(weight) == plates(b, a)


@given(st.text("AB1", max_size=5), st.text("AB1", max_size=5))
def test_one_character_is_what_an_edit_distance_of_one_says(one: str, other: str) -> None:
    row = list(range(len(other) + 1))
    for count, here in enumerate(one, start=1):
        corner, row[0] = row[0], count
        for place, there in enumerate(other, start=1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (here != there))
    assert differ_by_one(one, other) == (row[-1] == 1)


def test_travel_time_by_hand() -> None:
    rules = Rules(0.7, travel_times=TIMES, span=1000.0)
    usual = math.log(0.5 * 1000 / (60 * 0.25 * math.sqrt(2 * math.pi)) + 0.5)
    assert rules.travel(seen(), seen("b", "south", 60.0)) == pytest.approx(usual)
    assert rules.travel(seen("b", "south", 60.0), seen()) == pytest.approx(usual)  # either way
    assert rules.travel(seen(), seen("b", "south", 900.0)) == pytest.approx(math.log(0.5), abs=1e-3)
    assert rules.travel(seen(), seen("b", "south", 10.0)) == pytest.approx(math.log(0.5e-3), abs=0.1)
    assert Rules(0.7, travel_times=TIMES, span=1e9).travel(seen(), seen("b", "south", 60.0)) == 4.0
    for other in (seen("b", "south", None), seen("b", "east", 60.0), seen("b", "north", 60.0), seen("b", "", 60.0)):
        assert rules.travel(seen(), other) == 0.0


def test_what_cannot_be() -> None:
    rules = Rules(0.7, travel_times=TIMES)
    assert rules.is_impossible(seen(), seen("b", start=3.0))
    assert not rules.is_impossible(seen(), seen("b", start=3.8))  # a track that was cut goes on at once
    assert not rules.is_impossible(seen(), seen("b", start=None))
    assert rules.is_impossible(seen(), seen("b", "south", 20.0))  # 60 s / e^0.75 = 28 s
    assert not rules.is_impossible(seen(), seen("b", "south", 30.0))
    assert not Rules(0.7).is_impossible(seen(), seen("b", "south", 0.0))  # two cameras may see one place


def test_why_groups_cannot_be_one() -> None:
    some = [
        seen("a", plate="AB12CDE", plate_confidence=0.99),
        seen("b", start=100.0, plate="AB12CDF", plate_confidence=0.99),
        seen("c", start=200.0, plate="AB12CDF", plate_confidence=0.5),
        seen("d", start=201.0),
        seen("e", start=400.0),
    ]
    exclusions = Exclusions(some, Rules(0.7), apart=[(0, 4)])
    assert exclusions.why([0], [1]) == "different plates: AB12CDE and AB12CDF"
    assert exclusions.why([0], [2]) is None  # a doubtful reading parts nobody
    assert exclusions.why([1, 2], [3]) == "at two places at once: d and c"
    assert exclusions.why([4], [0, 2]) == "a person said that they are different"
    assert exclusions.why([1], [4]) is None


def test_answers_move_a_threshold_as_far_as_they_go() -> None:
    nothing_new = recalibrated([0.9, 0.4], [True, False], threshold=0.7)
    assert abs(nothing_new.threshold - 0.7) < 0.01
    lower = recalibrated([0.62, 0.63, 0.64, 0.66] * 5 + [0.55, 0.56] * 5, [True] * 20 + [False] * 10, threshold=0.7)
    assert 0.55 < lower.threshold < 0.64
    assert lower.low < lower.threshold < lower.high
    assert lower.high - lower.low < nothing_new.high - nothing_new.low  # more answers, more sure


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_threshold_is_found_again_from_enough_answers(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.uniform(0.5, 0.9, 2000)
    same = random.random(2000) < 1 / (1 + np.exp(-40 * (scores - 0.66)))
    found = recalibrated(scores.tolist(), same.tolist(), threshold=0.72)
    assert abs(found.threshold - 0.66) < 0.02
    assert 25 < found.steepness < 60


def test_answers_without_scores_are_refused() -> None:
    with pytest.raises(ReIDError, match="0 scores came with 1 answers"):
        recalibrated([], [True], threshold=0.7)


def test_strangers_are_tracks_of_one_camera_soon_after_each_other() -> None:
    """Thirty vehicles, one each 15 s: pairs up to 60 s apart, 29 + 28 + 27 + 26 of them."""
    some = [seen(f"s{n:02d}", start=15.0 * n) for n in range(30)]
    with pytest.raises(ReIDError, match="110 pairs of sightings that are surely strangers"):
        threshold_of_strangers(some, np.empty((0, 2), int), np.empty(0))
    some = [seen(f"s{n:03d}", start=15.0 * n) for n in range(400)]
    pairs = np.array([(0, 1), (5, 7), (0, 399), (8, 9), (20, 22)])
    found, strangers = threshold_of_strangers(some, pairs, np.array([0.5, 0.6, 0.99, 0.4, 0.45]))
    assert strangers == 399 + 398 + 397 + 396
    assert found == 0.4  # of 1,590 pairs three reach more than that; (0, 399) are no strangers for sure


def problem(weights: dict[tuple[int, int], float], count: int) -> Problem:
    some = [seen(f"s{n}", start=1000.0 * n) for n in range(count)]
    scores = np.array([0.7 + weight / 40 for weight in weights.values()])
    return Problem(some, np.array(list(weights)), scores, Rules(0.7, steepness=40.0))


def test_worth_asking_is_what_changes_most() -> None:
    weights = {
        (0, 1): 6.0,
        (1, 2): 6.0,
        (0, 2): 6.0,
        (3, 4): 6.0,
        (2, 3): 0.0,
        (5, 6): 0.4,
        (7, 8): -0.6,
        (9, 10): -3.9,
    }
    weights |= {(one, other): 0.0 for one in (0, 1, 2) for other in (3, 4) if (one, other) not in weights}
    asked = questions(problem(weights, 11), most=3)
    assert [(one.one, one.other, one.joined) for one in asked] == [
        ("s0", "s3", False),  # three and two sightings that may be one: 6 pairs with p = 1/2
        ("s5", "s6", True),
        ("s7", "s8", False),
    ]
    assert asked[0].worth == pytest.approx(3.0)
    assert [one.score for one in asked] == pytest.approx([0.7, 0.71, 0.685])
    assert score_of(problem(weights, 11), "s4", "s1") == pytest.approx(0.7)
    assert score_of(problem(weights, 11), "s0", "s9") is None
    assert asked[1].worth == pytest.approx(1 - 1 / (1 + math.exp(-0.4)))
    tired = questions(problem(weights, 11), unsure=[("s5", "s6")], most=2)
    assert ("s5", "s6") not in [(one.one, one.other) for one in tired]


def test_what_has_an_answer_is_not_asked() -> None:
    given = problem({(0, 1): 0.1, (2, 3): 0.1}, 4)
    known = Problem(given.seen, given.pairs, given.scores, given.rules, together=((0, 1),), apart=((2, 3),))
    assert questions(known) == []


@pytest.mark.parametrize(("name", "value"), [("threshold", 1.1), ("steepness", 0.0), ("steepness", math.inf)])
def test_rules_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ReIDError, match="expected"):
        Rules(**{"threshold": 0.7, name: value})


def test_a_bundle_says_from_where_on_by_its_different_pairs() -> None:
    different = (990, 0, 0, 0, 0, 0, 6, 3, 1, 0)
    known = calibration(0.8, (0,) * 10, different, false_match_rate=0.001)
    assert threshold_for_links(known) == pytest.approx(0.7 + 0.1 * 2 / 3)  # 1 + 3 x 1/3 of 1,000 pairs
    assert threshold_for_links(replace(known, histogram=None)) == 0.8
    assert threshold_for_links(replace(known, false_match_rate=0.01)) == 0.8
