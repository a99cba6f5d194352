"""Which pictures of a track are read, and how many."""

import numpy as np
import pytest

from reid_lightning.search.plates import ANY, PlateReading, PlateVote
from reid_lightning.search.plates.track_reading import SURE, read_track

BOX = (0.0, 0.0, 1.0, 1.0)


class Scripted:
    """Reads what it was told of the picture whose first pixel is the number, and counts."""

    name = "scripted"
    patterns = ANY

    def __init__(self, texts):
        self.texts, self.read_ones = texts, []

    def read(self, picture):
        number = int(picture[0, 0, 0])
        self.read_ones.append(number)
        return [PlateReading(*self.texts[number], BOX)] if number in self.texts else []


class Selective(Scripted):
    def may_hold_plate(self, picture):
        return picture.shape[0] > 4


def pictures(count):
    return [np.full((8, 8, 3), number, np.uint8) for number in range(count)]


def test_the_best_is_read_first_and_a_sure_vote_ends_the_reading():
    reader = Scripted({number: ("AB1234", 0.9) for number in range(5)})
    found = read_track(reader, pictures(5), [0.1, 0.5, 0.3, 0.9, 0.2])
    assert reader.read_ones == [3, 1] and found.votes == 2 and found.confidence >= SURE


def test_one_sure_frame_or_several_that_disagree_are_not_enough():
    reader = Scripted({0: ("AB1234", 0.99), 1: ("AB1239", 0.9), 2: ("XY7777", 0.9)})
    found = read_track(reader, pictures(3), [0.5] * 3)
    assert reader.read_ones == [0, 1, 2] and found.text == "AB1234" and found.confidence < SURE


def test_a_plate_that_only_the_worst_picture_shows_is_read():
    reader = Scripted({4: ("AB1234", 0.9)})
    assert read_track(reader, pictures(5), [0.5, 0.4, 0.3, 0.2, 0.1]) == PlateVote("AB1234", pytest.approx(0.9), 1)
    assert reader.read_ones == [0, 1, 2, 3, 4]


def test_what_can_hold_no_plate_is_left_out_where_the_reader_knows():
    many = [picture if number % 2 else picture[:4] for number, picture in enumerate(pictures(6))]
    reader = Selective({5: ("AB1234", 0.9)})
    assert read_track(reader, many, [0.5] * 6).text == "AB1234"
    assert reader.read_ones == [1, 3, 5]


def test_too_little_confidence_and_no_picture_are_no_plate():
    assert read_track(Scripted({0: ("AB1234", 0.5)}), pictures(1), [1.0], min_confidence=0.6) is None
    assert read_track(Scripted({}), [], []) is None
