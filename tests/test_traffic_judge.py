"""Judging search by drawn traffic's truth: two vehicles, boxes on a line, every figure counted by hand."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from reid_lightning.search.records import Crop, Match, Sighting
from reid_lightning.synthetic.traffic import BoxTruth, CameraTruth, PassageTruth, TrafficTruth, VehicleTruth

LEFT, RIGHT, NOWHERE = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (50.0, 50.0, 60.0, 60.0)


@pytest.fixture(scope="module")
def judge(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("traffic_judge", project / "benchmarks" / "traffic_judge.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["traffic_judge"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["traffic_judge"]


def box(camera: str, frame: int, vehicle: str, *, visible: float = 1.0) -> BoxTruth:
    return BoxTruth(camera, frame, vehicle, LEFT if vehicle == "v1" else RIGHT, visible, None, 60.0, True)


@pytest.fixture(scope="module")
def truth() -> TrafficTruth:
    """v1 passes both cameras, v2 only the south one; frames 0 to 3, in the last one v1 hardly shows."""
    boxes = [box("north", frame, "v1") for frame in range(4)]
    boxes += [box("south", frame, "v1", visible=0.2 if frame == 3 else 1.0) for frame in range(4)]
    boxes += [box("south", frame, "v2") for frame in range(4)]
    passing = {camera: PassageTruth(camera, 0, 3, 0.0, 0.3, camera == "north") for camera in ("north", "south")}
    vehicles = (
        VehicleTruth("v1", "AB23CEF", "car", "sedan", "red", tuple(passing.values())),
        VehicleTruth("v2", "HJ45KLM", "car", "suv", "blue", (passing["south"],)),
    )
    cameras = tuple(CameraTruth(name, f"{name}.mp4", "2026-01-01T08:00:00Z", 4, 10.0, 64, 64) for name in passing)
    return TrafficTruth(cameras, vehicles, tuple(boxes))


def sighting(number: int, vehicle: str, camera: str, boxes: list[tuple], plate: str | None = None) -> Sighting:
    crops = tuple(Crop(f"{frame}.jpg", frame, 0.1 * frame, where, 1.0, 1.0) for frame, where in enumerate(boxes))
    return Sighting(
        f"s{number}",
        vehicle,
        camera,
        "f" * 16,
        "clip",
        number,
        "car",
        "motion",
        crops,
        plate=plate,
    )


SIGHTINGS = [
    sighting(1, "AB23CEF", "north", [LEFT, LEFT, NOWHERE], "AB23CEF"),
    sighting(2, "unknown-2", "south", [LEFT]),
    sighting(3, "unknown-3", "south", [RIGHT], "HJ45KLN"),
    sighting(4, "unknown-3", "south", [RIGHT, RIGHT]),
    sighting(5, "unknown-5", "south", [NOWHERE, NOWHERE, LEFT]),
]


def match(vehicle: str, frame: int, where: tuple | None, score: float, track: int | None = None) -> Match:
    return Match(vehicle=vehicle, score=score, frame=frame, box=where, track=track)


def test_overlap_by_hand(judge: ModuleType) -> None:
    assert judge.overlap(LEFT, LEFT) == 1.0
    assert judge.overlap(LEFT, RIGHT) == 0.0
    assert judge.overlap(LEFT, (5.0, 0.0, 15.0, 10.0)) == pytest.approx(1 / 3)
    assert judge.overlap(LEFT, (10.0, 0.0, 20.0, 10.0)) == 0.0


def test_a_box_is_the_vehicles_it_overlaps_best(judge: ModuleType, truth: TrafficTruth) -> None:
    rows = truth.at("south")[0]
    assert judge.vehicle_at((21.0, 0.0, 31.0, 10.0), rows) == "v2"
    assert judge.vehicle_at((6.0, 0.0, 16.0, 10.0), rows) is None
    assert judge.vehicle_at(LEFT, []) is None


def test_sightings_are_the_vehicles_of_most_of_their_crops(judge: ModuleType, truth: TrafficTruth) -> None:
    assert judge.match_sightings(SIGHTINGS, truth) == {"s1": "v1", "s2": "v1", "s3": "v2", "s4": "v2", "s5": None}
    assert judge.owners(SIGHTINGS, truth) == {"AB23CEF": "v1", "unknown-2": "v1", "unknown-3": "v2"}
    elsewhere = dataclasses.replace(SIGHTINGS[0], camera="east")
    assert judge.match_sightings([elsewhere], truth) == {"s1": None}


def test_registration_by_hand(judge: ModuleType, truth: TrafficTruth) -> None:
    figures = judge.judge_registration(SIGHTINGS, truth)
    assert (figures.passages.precision, figures.passages.recall) == (4 / 5, 1.0)
    assert (figures.doubles, figures.false, figures.mixed, figures.split) == (1, 1, 0, 1)
    assert (figures.plates.precision, figures.plates.recall) == (1 / 2, 1.0)
    north = judge.judge_registration(SIGHTINGS, truth, cameras=["north"])
    assert north.passages == judge.Tally(1, 1, 1, 1)
    nothing = judge.judge_registration([], truth)
    assert (nothing.passages.precision, nothing.passages.recall, nothing.plates.recall) == (1.0, 0.0, 0.0)


def test_a_name_with_two_vehicles_is_mixed(judge: ModuleType, truth: TrafficTruth) -> None:
    both = [sighting(1, "one", "south", [LEFT]), sighting(2, "one", "south", [RIGHT])]
    assert judge.judge_registration(both, truth).mixed == 1


def test_search_by_hand(judge: ModuleType, truth: TrafficTruth) -> None:
    """v1 registered: expected in frames 0, 1 and 2 of south; track 1 is v1 and right, track 2 is v2 and a mistake."""
    matches = [
        match("AB23CEF", 0, LEFT, 0.9, 1),
        match("other", 0, LEFT, 0.8, 1),
        match("other", 1, LEFT, 0.7, 1),
        match("AB23CEF", 1, LEFT, 0.6, 1),
        match("AB23CEF", 3, LEFT, 0.9, 1),
        match("AB23CEF", 2, RIGHT, 0.65, 2),
        match("AB23CEF", 2, None, 0.99),
    ]
    figures = judge.judge_search(matches, {"AB23CEF": "v1"}, truth, camera="south")
    assert figures.frames == judge.Tally(right=2, given=4, found=1, expected=3)
    assert figures.tracks == judge.Tally(right=1, given=2, found=1, expected=1)
    assert (figures.frames.precision, figures.frames.recall) == (1 / 2, 1 / 3)


def test_search_for_one_vehicle_expects_only_that_one(judge: ModuleType, truth: TrafficTruth) -> None:
    names = {"AB23CEF": "v1", "HJ45KLM": "v2"}
    found = [match("HJ45KLM", frame, RIGHT, 0.9, 1) for frame in range(4)]
    assert judge.judge_search(found, names, truth, camera="south", wanted="HJ45KLM").frames.recall == 1.0
    assert judge.judge_search(found, names, truth, camera="south").frames.recall == 4 / 7
    stranger = judge.judge_search(found, names, truth, camera="north", wanted="HJ45KLM")
    assert (stranger.frames.precision, stranger.frames.recall) == (0.0, 1.0)
    unknown = judge.judge_search([], names, truth, camera="south", wanted="nobody")
    assert (unknown.tracks.precision, unknown.tracks.recall) == (1.0, 1.0)
