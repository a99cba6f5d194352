"""A few rounds of `benchmarks/drills/killed_watch.py`, how it judges, and that its camera's plates can be read."""

from __future__ import annotations

import pytest

from benchmarks.drills.killed_watch import ReadsBits, RedBoxes, car, drill, judged, plate_of
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Crop, Sighting


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


def kept(folder, name, number, span, source="f0"):
    crops = (Crop("", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 0.9, 0.8),)
    plate, when = plate_of(number), {"start": span[0], "end": span[1]}
    one = Sighting(name, plate, "gate", source, "x", 1, "car", "red", crops, plate=plate, plate_confidence=0.9, **when)
    Gallery(folder / "gallery").add(one, [car(number, 0)])
    return one


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("none", None),
        ("gone", "AB0001X was saved and is gone"),
        ("twice", "AB0001X was saved twice at one time"),
        ("between", "AB0002X was lost between others"),
        ("untold", "nobody was told of AB0001X"),
        ("unsaved", "a hit of AB0001X, which was not saved"),
        ("left", "a2.json is left in the spool"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, fault, said):
    first = kept(tmp_path, "a1", 1, (1.0, 2.0))
    kept(tmp_path, "a2", 3 if fault == "between" else 2, (3.0, 4.0))
    if fault == "twice":
        kept(tmp_path, "a3", 1, (1.5, 2.5), source="f1")
    saved = {"a1": first} | ({"a9": first} if fault == "gone" else {})
    told = [{"sighting": name, "plate": plate_of(1)} for name in ("a1", "a2", "a3")]
    told = told[: 3 if fault in ("twice", "unsaved") else 2][fault == "untold" :]
    (tmp_path / "spool/webhook").mkdir(parents=True)
    if fault == "left":
        (tmp_path / "spool/webhook/a2.json").touch()
    found = judged(tmp_path, list(Gallery(tmp_path / "gallery").sightings()), saved, told, dropped=0)
    assert len(found) == (said is not None) and all(one.startswith(said) for one in found)
