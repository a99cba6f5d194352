"""What no vehicle model and no person has confirmed is marked wherever a vehicle is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from running import gallery_command
from toy_clips import BrightBoxes, KnowsRed, NeedsVideo, build_tracker, scene

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.matching.vehicle_search import SearchedFrame
from reid_lightning.search.output.console import print_found
from reid_lightning.search.output.search_files import SearchFiles
from reid_lightning.search.plates.names import given_name, unknown_name
from reid_lightning.search.records import Crop, Frame, Match, Sighting
from reid_lightning.search.registration import sighting_of
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

ID = "0123456789abcdef"
UNKNOWN = unknown_name(ID)


def sighting(identifier: str = ID, vehicle: str = UNKNOWN, **values: object) -> Sighting:
    crop = Crop("", 7, 0.5, (1.0, 2.0, 31.5, 22.0), 0.9, 0.8)
    known = {"camera": "north", "source": "f00d", "source_name": "clip.mp4", "track": 3, "type": "vehicle"}
    said = {"detector": "motion", "confirmed": False, **known, **values}
    return Sighting(identifier, vehicle, crops=(crop,), **said)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def added(gallery: Gallery, *sightings: Sighting) -> Gallery:
    for one in sightings:
        gallery.add(one, [np.full((20, 30, 3), 90, np.uint8)])
    return gallery


def decided(track: int, vehicle: str, *, accepted: bool = True) -> TrackDecision:
    return TrackDecision(track, vehicle, "s", 0.8, accepted, 1, 0.0, 1.0, 0, 9, 5, "vehicle")


def confirmed(gallery: Gallery) -> dict[str, bool]:
    return {one.id: one.confirmed for one in gallery.vehicles(on_problem=pytest.fail)}


def test_a_sighting_says_so_on_disk_and_after_it(gallery: Gallery) -> None:
    added(gallery, sighting(), sighting("b" * 16, "B1", confirmed=True, plate="B1"))
    assert confirmed(gallery) == {UNKNOWN: False, "B1": True}
    kept = {path.parent.name: json.loads(path.read_text()) for path in gallery.root.glob("*/*.json")}
    assert {name: values["confirmed"] for name, values in kept.items()} == {UNKNOWN: False, "B1": True}


@pytest.mark.parametrize(("detector", "expected"), [("motion", False), ("yolox_nano", True)])
def test_a_sidecar_of_before_says_it_by_its_detector(gallery: Gallery, detector: str, expected: bool) -> None:
    added(gallery, sighting(detector=detector))
    [path] = gallery.root.glob("*/*.json")
    values = json.loads(path.read_text())
    del values["confirmed"]
    path.write_text(json.dumps(values))
    assert confirmed(gallery) == {UNKNOWN: expected}


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_another_value_is_damage(gallery: Gallery, value: object) -> None:
    added(gallery, sighting())
    [path] = gallery.root.glob("*/*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"confirmed": value}))
    with pytest.raises(ReIDError, match=r"confirmed is .*, expected true or false"):
        list(gallery.sightings())


def test_whoever_names_or_merges_a_vehicle_knows_that_it_is_one(gallery: Gallery) -> None:
    added(gallery, sighting(), sighting("b" * 16, "B1", plate="B1"), sighting("c" * 16, "C1", plate="C1"))
    assert confirmed(gallery) == {UNKNOWN: False, "B1": False, "C1": False}
    gallery.rename(UNKNOWN, "white van")
    gallery.merge("C1", "B1")
    assert confirmed(gallery) == {"WHITE_VAN": True, "B1": True}


def test_the_name_that_a_sighting_is_given() -> None:
    assert given_name(ID, None) == UNKNOWN and given_name(ID, "b 1") == "B_1"
    assert given_name(ID, "...") is None  # no plate of ours: a stranger's sidecar


def test_lists_and_matches_are_marked(gallery: Gallery, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    added(gallery, sighting(), sighting("b" * 16, "B1", plate="B1", confirmed=True))
    assert gallery_command("list", f"gallery={gallery.root}") == 0
    rows = capsys.readouterr().out.splitlines()
    marked = [row for row in rows if "unconfirmed" in row]
    assert len(marked) == 1 and UNKNOWN in marked[0] and any("B1" in row and "unconfirmed" not in row for row in rows)
    source = SimpleNamespace(in_video=True, name="c.mp4", frames_per_second=10.0, every=1, warning=None)
    frame = Frame(np.zeros((80, 120, 3), np.uint8), 0)
    matches = tuple(Match(name, 0.9, box=(1.0, 1.0, 50.0, 40.0), track=1) for name in (UNKNOWN, "B1", "GONE"))
    with SearchFiles(tmp_path, source, gallery, draw=False) as files:
        files.add(SearchedFrame(frame, (), matches))
        decisions = files.marked([decided(1, UNKNOWN), decided(2, "B1"), decided(3, "GONE", accepted=False)])
        files.finish(decisions, query={})
    reported = [
        (one["vehicle"], one["confirmed"]) for one in json.loads((tmp_path / "matches.json").read_text())["matches"]
    ]
    assert reported == [(UNKNOWN, False), ("B1", True), ("GONE", True)]
    content = json.loads((tmp_path / "matches.json").read_text())
    assert [one["confirmed"] for one in content["tracks"]] == [False, True, True]
    print_found(source, files.matches, decisions, threshold=Threshold(0.6, None), tracks=3)
    print_found(source, [], decisions[:1], threshold=Threshold(0.6, None), tracks=1, one_vehicle=True)
    print_found(source, [], [replace(decisions[0], accepted=False)], threshold=Threshold(0.6, None), tracks=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("unconfirmed") for line in lines if " 0.900" in line] == [1, 0, 0]
    tracks = [line for line in lines if " 0.800" in line]
    assert [line.count("unconfirmed") for line in tracks] == [1, 0, 1, 1]
    assert "the answer, unconfirmed" in tracks[2] and "below 0.60, unconfirmed" in tracks[3]


@pytest.mark.parametrize(
    ("detector", "pictures", "expected", "name"),
    [
        (BrightBoxes, "auto", True, "bright"),
        (BrightBoxes, "crops", True, "none"),
        (NeedsVideo, "auto", False, "none"),
        (NeedsVideo, "crops", True, "none"),
    ],
)
def test_models_confirm_and_so_does_whoever_says_that_pictures_are_crops(
    tmp_path: Path, detector: type, pictures: str, expected: bool, name: str
) -> None:
    Image.fromarray(scene(red=(5, 5))).save(tmp_path / "a.png")
    finder = VehicleFinder(detector(), KnowsRed(), build_tracker=build_tracker, pictures=pictures)
    with open_source(tmp_path) as source:
        [found] = finder.find(source)
        assert found.confirmed is expected
        sighting = sighting_of(found, source, camera="n", start=None)
        assert (sighting.confirmed, sighting.detector, sighting.source_name) == (expected, name, "a.png")
    assert finder.counts.describe("registered", in_video=False) == "1 vehicle: 1 registered"
