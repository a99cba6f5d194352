"""The files of a search: paths into the gallery, bounded memory, and what is left when somebody stops it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.matching.vehicle_search import SearchedFrame
from reid_lightning.search.output import search_files
from reid_lightning.search.output.search_files import SearchFiles
from reid_lightning.search.records import Crop, Frame, Match, Sighting

GREEN = (10, 200, 10)


@pytest.fixture
def gallery(tmp_path):
    """A registered sighting of RED with one crop, and a picture that a user put into BLUE."""
    gallery = Gallery(tmp_path / "gallery")
    crops = (Crop("a" * 16 + "-0.jpg", 3, 1.5, (0.0, 0.0, 9.0, 9.0), 0.9, 0.8),)
    gallery.add(
        Sighting("a" * 16, "RED", "north", "f" * 16, "clip.mp4", 1, "car", "motion", crops),
        [np.full((40, 40, 3), (200, 10, 10), np.uint8)],
    )
    (tmp_path / "gallery" / "BLUE").mkdir()
    Image.new("RGB", (40, 40), (10, 10, 200)).save(tmp_path / "gallery" / "BLUE" / "mine.png")
    return Gallery(tmp_path / "gallery")


def a_source(kind="video", **more):
    given = {
        "in_video": kind in ("video", "stream"),
        "name": "clip.mp4",
        "frames_per_second": 10.0,
        "every": 1,
        "warning": None,
    }
    return SimpleNamespace(**{**given, **more})


def searched(number=0, *matches, size=(120, 80), path=None):
    frame = Frame(np.full((size[1], size[0], 3), 90, np.uint8), number, number / 10, path)
    return SearchedFrame(frame, (), matches)


def found(vehicle="RED", score=0.8, **more):
    return Match(vehicle, score, box=more.pop("box", (10.0, 10.0, 50.0, 40.0)), **more)


def written(folder):
    return json.loads((folder / "matches.json").read_text())


def test_matches_name_registered_pictures_and_those_of_users_and_never_a_file_elsewhere(tmp_path, gallery):
    Image.new("RGB", (50, 50), GREEN).save(tmp_path / "private.png")
    own = next(sighting for sighting in gallery.sightings() if sighting.vehicle == "BLUE")
    pictures = ["a" * 16 + "-0", f"{own.id}-0", "../private.png", str(tmp_path / "private.png"), "gone-0", None]
    vehicles = ["RED", "BLUE", "RED", "RED", "RED", "RED"]
    matches = [
        found(vehicle, picture=picture, track=track)
        for track, (vehicle, picture) in enumerate(zip(vehicles, pictures, strict=True))
    ]
    with SearchFiles(tmp_path, a_source(), gallery) as files:
        files.add(searched(0, *matches))
        files.finish([], query={})
    assert [match["picture"] for match in written(tmp_path)["matches"]] == [
        f"RED/{'a' * 16}-0.jpg",
        "BLUE/mine.png",
        *[None] * 4,
    ]
    sheet = np.asarray(Image.open(tmp_path / "matches.jpg")).astype(int)
    assert not (abs(sheet - GREEN) < 40).all(axis=2).any()


def test_a_damaged_sidecar_leaves_a_match_without_a_picture(tmp_path, gallery):
    (sidecar,) = (tmp_path / "gallery" / "RED").glob("*.json")
    sidecar.write_text(sidecar.read_text()[:60])
    with SearchFiles(tmp_path, a_source(), gallery) as files:
        files.add(searched(0, found(picture="a" * 16 + "-0")))
        files.finish([], query={})
    assert [match["picture"] for match in written(tmp_path)["matches"]] == [None]


def test_memory_holds_the_small_crops_of_one_sheet_and_the_sheet_is_that_of_all(tmp_path, gallery, monkeypatch):
    monkeypatch.setattr(search_files, "ROWS", 5)
    scores = np.random.default_rng(0).permutation(60) / 100
    with SearchFiles(tmp_path, a_source("stream"), gallery) as files:
        for number, score in enumerate(scores):
            again = found(score=score + 0.3, track=7) if number == 50 else found(score=score, track=number)
            files.add(searched(number, again, size=(640, 480)))
            assert len(files._best) < 10 and {picture.size for picture, _ in files._best.values()} == {(96, 96)}
        kept = [match.track for _, match in files._best_rows()]
        files.finish([], query={})
    best = {match.track: match.score for match in files.matches}  # 7 came twice, the better one last
    assert kept == sorted(best, key=lambda track: -best[track])[:5]
    assert len(written(tmp_path)["matches"]) == 60


def test_what_was_found_before_somebody_stops_is_kept(tmp_path, gallery):
    def run():
        for number in range(4):
            yield searched(number, found(track=1))
        raise KeyboardInterrupt

    with SearchFiles(tmp_path, a_source("stream", frames_per_second=None), gallery) as files:
        try:
            for one in run():
                files.add(one)
        except KeyboardInterrupt:
            pass
        files.finish([], query={"query": "rtsp://camera"})
    assert len(written(tmp_path)["matches"]) == 4
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 4
    assert {path.name for path in tmp_path.iterdir()} >= {"matches.csv", "tracks.csv", "matches.jpg"}


def test_what_could_not_be_read_is_told(tmp_path, gallery):
    source = a_source(warning="clip.mp4 is damaged after frame 7.")
    query = {"min_score": 0.6}
    with SearchFiles(tmp_path, source, gallery, draw=False) as files:
        files.finish([], query=query)
        assert written(tmp_path)["query"] == {"min_score": 0.6, "warning": source.warning}
        source.warning = None
        files.finish([], query=query)
    assert written(tmp_path)["query"] == {"min_score": 0.6}


def test_frames_of_another_size_are_drawn_in_the_first(tmp_path, gallery, monkeypatch):
    drawn = []
    add = search_files.AnnotatedVideo.add
    monkeypatch.setattr(
        search_files.AnnotatedVideo, "add", lambda video, *given: (drawn.append(given), add(video, *given))
    )
    whole = found(box=None)
    with SearchFiles(tmp_path, a_source(), gallery) as files:
        files.add(searched(0, found()))
        files.add(searched(1, found(box=(20.0, 30.0, 100.0, 120.0)), whole, size=(240, 240)))
        files.add(searched(2, size=(30, 40)))
        files.finish([], query={})
    assert [frame.picture.shape for frame, _ in drawn] == [(80, 120, 3)] * 3
    scale = 80 / 240
    assert [match.box for match in drawn[1][1]] == [
        pytest.approx((20 + 20 * scale, 30 * scale, 20 + 100 * scale, 120 * scale)),
        None,
    ]
    bars, inside = drawn[1][0].picture[:, :20], drawn[1][0].picture[:, 20:100]
    assert (bars == 0).all() and (inside == 90).all()  # as a player fits a square into a wider window
    assert files.matches[1].box == (20.0, 30.0, 100.0, 120.0)  # of the frame as it is
    with av.open(str(tmp_path / "annotated.mp4")) as video:
        assert [(one.width, one.height) for one in video.decode(video=0)] == [(120, 80)] * 3


CONTROLS = "a\x1b]0;b\r\nc\x9b\N{RIGHT-TO-LEFT OVERRIDE}\udcffé d"


@pytest.mark.parametrize(
    ("stem", "kept"),
    [("p" * 251, "p" * 40), ("京" * 83, "京" * 40), (CONTROLS, "a_]0;b__c___é d.jpg")],
    ids=["long", "wide", "controls"],
)
def test_a_picture_is_written_under_a_shorter_and_printable_name(tmp_path, gallery, stem, kept):
    match = replace(found(), box=None)
    with SearchFiles(tmp_path, a_source("picture", frames_per_second=None), gallery) as files:
        files.add(searched(0, match, path=tmp_path / f"{stem}.png"))
        files.finish([], query={})
    (picture,) = (tmp_path / "annotated").iterdir()
    assert picture.name.startswith(f"000000_{kept}") and Image.open(picture).size == (120, 80)
