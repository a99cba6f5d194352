"""Votes worked out by hand."""

import itertools

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import PlatePatterns, PlateReading, PlateVote, vote
from reid_lightning.search.plates.vote import FURTHER_FRAMES

BOX = (0.0, 0.0, 1.0, 1.0)
BR = PlatePatterns("br", [r"[A-Z]{3}\d[A-Z0-9]\d{2}"])


def frames(*texts):
    """One reading a frame: (text, confidence)."""
    return [[PlateReading(text, confidence, BOX)] for text, confidence in texts]


def test_one_frame_gives_its_own_text_and_confidence():
    assert vote(frames(("ab-12 3", 0.75))) == PlateVote("AB123", 0.75, 1)


def test_each_character_is_voted_on_and_nobody_need_have_read_the_whole():
    outcome = vote(frames(("AB1Z34", 0.5), ("A81234", 0.5), ("AB1239", 0.5)))
    each = 0.5 * 5 / 6
    assert outcome == PlateVote(
        "AB1234", pytest.approx((1 - (1 - each) * (1 - each) ** (2 * FURTHER_FRAMES)) * 5 / 6), 3
    )


def test_the_sum_of_confidences_decides():
    outcome = vote(frames(("AB123", 0.9), ("AC123", 0.5), ("AC123", 0.5)))
    # of AB123 four characters of five are said: 0.72 of its 0.9
    expected = (1 - (1 - 0.72) * (1 - 0.5) ** FURTHER_FRAMES * (1 - 0.5) ** FURTHER_FRAMES) * (0.72 + 0.5 + 0.5) / 1.9
    assert outcome == PlateVote("AC123", pytest.approx(expected), 3)


def test_the_length_with_the_greatest_sum_wins_and_others_count_as_disagreement():
    outcome = vote(frames(("AB123", 0.6), ("AB1234", 0.8), ("AB123", 0.6)))
    assert outcome == PlateVote("AB123", pytest.approx((1 - 0.4 * 0.4**FURTHER_FRAMES) * 1.2 / 2.0), 2)


def test_a_frame_that_read_nothing_takes_no_part():
    assert vote([[], *frames(("AB123", 0.8)), []]) == PlateVote("AB123", pytest.approx(0.8), 1)
    assert vote([]) is None
    assert vote([[], []]) is None


def test_a_text_that_was_read_surely_and_fits_nothing_stays():
    readings = [*frames(("TAXI24", 0.9)), *frames(("TAXI24", 0.9)), *frames(("ABC1D23", 0.5))]
    assert vote(readings, patterns=BR).text == vote(readings).text == "TAXI24"
    assert vote(readings[1:], patterns=BR).confidence == pytest.approx(0.9 * 0.9 / 1.4)
    assert vote([*readings, *frames(("ABC1D23", 0.7), ("ABC1D23", 0.7))], patterns=BR).text == "ABC1D23"


def test_both_readings_of_a_frame_vote_with_their_weights():
    unsure = [PlateReading("GR8DAD", 0.5, BOX), PlateReading("GR8D4D", 0.3, BOX)]
    assert vote([unsure, unsure]).text == "GR8DAD"
    assert vote([unsure, *frames(("GR8D4D", 0.4))]).text == "GR8D4D"


def test_a_sign_that_every_frame_shows_is_not_mixed_into_the_plate():
    shown = [PlateReading("ABC1234", 0.8, BOX), PlateReading("24HHELP", 0.7, BOX)]
    outcome = vote([shown, shown])
    assert outcome == PlateVote("ABC1234", pytest.approx(1 - 0.2 * 0.2**FURTHER_FRAMES), 2)


def test_where_nothing_fits_a_plausible_text_is_taken_as_it_is():
    assert vote(frames(("LSI155EBC", 0.9)), patterns=BR) == PlateVote("LSI155EBC", 0.9, 1)
    assert vote(frames(("WELCOME", 0.9), ("0912345678", 0.9)), patterns=BR) is None


def test_look_alikes_are_corrected_before_the_vote():
    assert vote(frames(("A8C1234", 0.9), ("ABC1234", 0.7)), patterns=BR).text == "ABC1234"


def test_the_first_text_of_a_frame_that_fits_votes():
    frame = [PlateReading("WELCOME", 0.9, BOX), PlateReading("ABC1234", 0.6, BOX), PlateReading("XYZ1234", 0.6, BOX)]
    assert vote([frame], patterns=BR) == PlateVote("ABC1234", 0.6, 1)


def test_a_mixture_that_is_no_plate_gives_way_to_the_strongest_whole_text():
    patterns = PlatePatterns("test", ["AAA11", "BBB22", "AAB33"])
    outcome = vote(frames(("AAA11", 0.5), ("BBB22", 0.6), ("AAB33", 0.4)), patterns=patterns)
    # place by place: A (0.9), A (0.9), B (1.0), 2 (0.6), 2 (0.6): AAB22 is none of the three
    assert outcome.text == "BBB22"


def test_the_order_of_frames_never_matters_even_in_a_tie():
    texts = [("AB123", 0.5), ("AC123", 0.5), ("AC1234", 0.5), ("AB1234", 0.5)]
    assert len({vote(frames(*order)) for order in itertools.permutations(texts)}) == 1
    assert vote(frames(("AC123", 0.5), ("AB123", 0.5))).text == "AB123"


def test_too_little_confidence_is_no_plate():
    readings = frames(("AB123", 0.6), ("AB123", 0.6))
    assert vote(readings, min_confidence=0.66).votes == 2
    assert vote(readings, min_confidence=0.67) is None


def test_impossible_limits_are_refused():
    with pytest.raises(ReIDError, match="min_confidence"):
        vote([], min_confidence=1.5)
