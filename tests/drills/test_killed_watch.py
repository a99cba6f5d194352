"""A few rounds of `benchmarks/drills/killed_watch.py`, and that its camera's plates can be read."""

from __future__ import annotations

import pytest

from benchmarks.drills.killed_watch import ReadsBits, RedBoxes, car, drill, plate_of


@pytest.mark.parametrize("number", [0, 1, 2730, 4095])
def test_the_plate_of_a_drawn_vehicle_is_read(number):
    picture = car(number, 20)
    (box,) = RedBoxes().detect(picture).boxes.astype(int)
    (reading,) = ReadsBits().read(picture[box[1] - 2 : box[3] + 2, box[0] - 2 : box[2] + 2])
    assert reading.text == plate_of(number)


@pytest.mark.slow
def test_a_watch_that_is_killed_loses_doubles_and_keeps_back_nothing(tmp_path):
    found = drill(tmp_path / "drill", rounds=3, seed=1, longest=2.0)
    assert found.wrong == () and found.sightings >= 4 and found.told >= found.sightings
    assert sum(found.kills.values()) == 3
