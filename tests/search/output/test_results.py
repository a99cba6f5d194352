"""Results as files: the same numbers come back, nothing half-written, no formulas."""

import csv
import json

import numpy as np
import pytest

from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.output import results
from reid_lightning.search.output.results import write_csv, write_json, write_tracks_csv
from reid_lightning.search.records import Match, time_code

MATCHES = [
    Match(
        "51G12345",
        0.834567,
        frame=7,
        seconds=0.28,
        box=(1.04, 2.06, 30.0, 40.0),
        track=2,
        type="car",
        picture="gallery/51G12345/a.jpg",
        camera="north",
        details={"cosine": 0.9, "prior": 0.92729},
        time=1_700_000_000.1234,
    ),
    Match("京A12345", float("nan")),
]
DECISION = TrackDecision(2, "51G12345", "s1", 0.812345, True, 1, 0.04, 3.2, 1, 80, 9, "car")


def test_json_says_everything_in_rounded_numbers(tmp_path):
    path = write_json(
        tmp_path / "r.json", MATCHES, decisions=[DECISION], query={"source": "clip.mp4", "min_score": 0.6}
    )
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == 2
    assert content["query"] == {"source": "clip.mp4", "min_score": 0.6}
    assert content["matches"][0] == {
        "frame": 7,
        "time_code": "00:00:00.280",
        "seconds": 0.28,
        "box": [1.0, 2.1, 30.0, 40.0],
        "track": 2,
        "type": "car",
        "vehicle": "51G12345",
        "score": 0.8346,
        "picture": "gallery/51G12345/a.jpg",
        "camera": "north",
        "confirmed": True,
        "time": 1_700_000_000.123,
        "details": {"cosine": 0.9, "prior": 0.9273},
    }
    second = content["matches"][1]
    assert (second["vehicle"], second["score"], second["box"], second["time"]) == ("京A12345", None, None, None)
    assert content["tracks"][0]["similarity"] == 0.8123
    assert content["tracks"][0]["vehicle"] == "51G12345"


def test_csv_has_a_row_a_match(tmp_path):
    with write_csv(tmp_path / "r.csv", MATCHES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["vehicle"] for row in rows] == ["51G12345", "京A12345"]
    assert {name: float(rows[0][name]) for name in ("frame", "x1", "y2", "score")} == {
        "frame": 7,
        "x1": 1.0,
        "y2": 40.0,
        "score": 0.8346,
    }
    assert (rows[0]["time_code"], rows[0]["camera"]) == ("00:00:00.280", "north")
    assert (rows[1]["score"], rows[1]["x1"], rows[1]["track"]) == ("", "", "")


def test_numpy_numbers_and_names_that_are_no_unicode_are_written(tmp_path):
    match = Match("A", np.float32(0.5), box=tuple(np.float32([1, 2, 3, 4])), picture="bad\udcff.jpg")
    content = json.loads(write_json(tmp_path / "r.json", [match]).read_text(encoding="utf-8"))
    assert (content["matches"][0]["score"], content["matches"][0]["picture"]) == (0.5, "bad\udcff.jpg")
    assert "bad\\udcff.jpg" in write_csv(tmp_path / "r.csv", [match]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_becomes_a_formula(tmp_path, name):
    path = write_csv(tmp_path / "r.csv", [Match(name, -0.5, camera=name)])
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["vehicle"] == row["camera"] == f"'{name}"
    assert row["score"] == "-0.5"  # a number, not a text


def test_track_decisions_have_a_table_too(tmp_path):
    with write_tracks_csv(tmp_path / "t.csv", [DECISION]).open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["track"], row["vehicle"], row["accepted"], row["similarity"]) == ("2", "51G12345", "True", "0.8123")


def test_nothing_found_is_a_table_without_rows(tmp_path):
    assert write_csv(tmp_path / "r.csv", []).read_text().startswith("frame,time_code")
    assert json.loads(write_json(tmp_path / "r.json", []).read_text())["matches"] == []


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_json(tmp_path / "r.json", [])
    before = path.read_bytes()

    rows = iter([{"frame": 1}])

    def no_space(_match):
        for row in rows:
            return row
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "_match_values", no_space)  # after the first one
    with pytest.raises(OSError, match="No space"):
        write_json(path, MATCHES)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (0, "00:00:00.000"),
        (83.45, "00:01:23.450"),
        (59.9996, "00:01:00.000"),
        (3600 * 30 + 1, "30:00:01.000"),
        (-1.5, "-00:00:01.500"),
        (float("nan"), "--:--:--.---"),
        (1e306, "--:--:--.---"),
    ],
)
def test_time_codes(seconds, code):
    assert time_code(seconds) == code
