"""Travel times: tables as they come, weights worked out by hand."""

import math

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.search.matching.scoring import best_of_vehicles, filter_matches
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes
from reid_lightning.search.records import Match

TWICE = math.log(2)  # a spread that takes half to twice the usual time for usual


@pytest.fixture
def times():
    return TravelTimes({("a", "b"): TravelTime(100.0, TWICE)}, early=0.001, late=0.8)


@pytest.mark.parametrize(
    ("gap", "weight"),
    [
        (100, 1.0),
        (50, 1.0),
        (200, 1.0),
        (25, 0.001 + 0.999 * math.exp(-0.5)),  # z = -2
        (400, 0.8 + 0.2 * math.exp(-0.5)),  # z = 2
        (800, 0.8 + 0.2 * math.exp(-2)),  # z = 3
        (0, 0.001),
        (1e9, 0.8),
    ],
)
def test_weights_by_hand_in_both_directions(times, gap, weight):
    assert times.prior("a", 1000.0, "b", 1000.0 + gap) == pytest.approx(weight)
    assert times.prior("b", 1000.0 + gap, "a", 1000.0) == pytest.approx(weight)
    assert times.prior("b", 1000.0, "a", 1000.0 + gap) == pytest.approx(weight)  # the way back is not in the table


def test_the_way_back_may_take_longer():
    times = TravelTimes({("a", "b"): TravelTime(10, TWICE), ("b", "a"): TravelTime(1000, TWICE)})
    assert times.prior("a", 0.0, "b", 10.0) == 1.0
    assert times.prior("b", 0.0, "a", 10.0) < 0.01
    assert times.prior("a", 10.0, "b", 0.0) < 0.01


@pytest.mark.parametrize(
    "seen",
    [
        ("a", 0.0, "a", 1.0),
        ("a", 0.0, "unknown", 1.0),
        (None, 0.0, "b", 1.0),
        ("a", None, "b", 1.0),
        ("a", 0.0, "b", None),
        ("a", math.nan, "b", 1.0),
    ],
)
def test_what_is_unknown_changes_nothing(times, seen):
    assert times.prior(*seen) == 1.0


def test_an_implausible_look_alike_falls_behind(times):
    matches = [
        Match("TWIN", 0.9, seconds=5.0, camera="a", time=1000.0),  # 5 s before, 100 s away
        Match("RIGHT", 0.8, seconds=5.0, camera="a", time=905.0),
        Match("NEW", 0.7, seconds=5.0, camera="c", time=905.0),
        Match("LOW", -0.2, seconds=5.0, camera="a", time=1000.0),
    ]
    weighed = times.reweigh(matches, camera="b", start=1000.0)
    assert [match.score for match in weighed[1:]] == [0.8, 0.7, -0.2]
    factor = times.prior("a", 1000.0, "b", 1005.0)
    assert weighed[0].score == pytest.approx(0.9 * factor)
    assert weighed[0].details == {"cosine": 0.9, "prior": factor}
    assert [match.vehicle for match in filter_matches(weighed)] == ["RIGHT", "NEW"]
    gentle = times.reweigh(matches, camera="b", start=1000.0, alpha=0.5)
    assert gentle[0].score == pytest.approx(0.9 * factor**0.5)
    assert [one.score for one in times.reweigh(matches, camera="b", start=1000.0, alpha=0)] == [0.9, 0.8, 0.7, -0.2]
    assert [one.score for one in times.reweigh(matches, camera="b", start=None)] == [0.9, 0.8, 0.7, -0.2]


def test_a_plausible_sighting_stands_in_for_an_implausible_one(times):
    matches = [
        Match("A", 0.9, camera="a", time=999.0, picture="now"),
        Match("A", 0.8, camera="a", time=900.0, picture="before"),
    ]
    best = best_of_vehicles(times.reweigh(matches, camera="b", start=1000.0))
    assert [(match.picture, match.score) for match in best] == [("before", 0.8)]


def test_a_prior_after_reranking_keeps_the_cosine(times):
    match = Match("A", 0.99, camera="a", time=1000.0, details={"cosine": 0.7})
    (weighed,) = times.reweigh([match], camera="b", start=1025.0)
    factor = 0.001 + 0.999 * math.exp(-0.5)
    assert weighed.details == {"cosine": 0.7, "prior": pytest.approx(factor)}
    assert weighed.score == pytest.approx(0.99 * factor)
    assert filter_matches([weighed], 0.7 * factor + 0.001) == []
    assert filter_matches([weighed], 0.7 * factor - 0.001) == [weighed]


def test_a_table_of_seconds(tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("from, to, seconds, spread\nnorth,south, 60\nsouth,north,90,0.25\n\n")
    times = TravelTimes.read(path, spread=0.4)
    assert times.pairs == {("north", "south"): TravelTime(60.0, 0.4), ("south", "north"): TravelTime(90.0, 0.25)}


def test_a_square_of_metres(tmp_path):
    path = tmp_path / "metres.txt"
    path.write_text("0 40 170\n0 0 130\n0 0 0\n")
    times = TravelTimes.read(path, speed=20)
    assert times.pairs == {
        ("c001", "c002"): TravelTime(2.0, 0.5),
        ("c001", "c003"): TravelTime(8.5, 0.5),
        ("c002", "c003"): TravelTime(6.5, 0.5),
    }
    assert times.prior("c003", 0.0, "c001", 8.5) == 1.0
    assert set(TravelTimes.read(path, cameras=["x", "y", "z"]).pairs) == {("x", "y"), ("x", "z"), ("y", "z")}


def test_veris_own_table(shared_data):
    times = TravelTimes.read(shared_data / "veri_labels" / "camera_distance.txt", speed=10)
    assert times.pairs["c001", "c002"].seconds == 4.0
    assert times.pairs["c019", "c020"].seconds == 5.0
    assert len(times.pairs) == 20 * 19 / 2
    assert times.prior("c017", 0.0, "c002", 131.0) == 1.0
    assert times.prior("c017", 0.0, "c002", 3.0) < 0.01


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("0 1\n0", "line 2 has 1 numbers; expected 2"),
        ("0 1 2\n0 0 3", "line 1 has 3 numbers; expected 2"),
        ("a b\nc d", "line 1: 'a b'"),
        ("from,to,seconds\nx,y,soon", "line 2: 'x,y,soon'"),
        ("from,to,seconds\nx", "line 2: 'x'"),
        ("from,to,seconds\nx,y,-5", r"takes -5\.0 s"),
        ("from,to,seconds,spread\nx,y,5,nan", "spread of nan"),
    ],
)
def test_damaged_tables_are_named(tmp_path, content, words):
    (tmp_path / "t.txt").write_text(content)
    with pytest.raises(ReIDError, match=words):
        TravelTimes.read(tmp_path / "t.txt")


def test_bad_arguments_are_named(times, tmp_path):
    (tmp_path / "t.txt").write_text("0 1\n0 0\n")
    with pytest.raises(ReIDError, match="nowhere"):
        TravelTimes.read(tmp_path / "nowhere")
    with pytest.raises(ReIDError, match="speed is 0"):
        TravelTimes.read(tmp_path / "t.txt", speed=0)
    with pytest.raises(ReIDError, match="3 cameras were named"):
        TravelTimes.read(tmp_path / "t.txt", cameras=["x", "y", "z"])
    with pytest.raises(ReIDError, match="late is 2"):
        TravelTimes({}, late=2)
    with pytest.raises(ReIDError, match="alpha is -1"):
        times.reweigh([], camera="a", start=0.0, alpha=-1)


def test_a_camera_that_is_not_in_the_table_is_named_with_those_that_are(times):
    assert times.cameras == ("a", "b")
    times.check("b")
    with pytest.raises(ReIDError, match=r"camera is 'bb'.*: a, b"):
        times.check("bb")
    with pytest.raises(ReIDError, match="none"):
        TravelTimes({}).check("a")


def test_a_cell_too_long_for_a_table_is_one_error(tmp_path):
    (tmp_path / "times.csv").write_text(f"from,to,seconds\na,b,{'9' * 200_000}\n", encoding="utf-8")
    with pytest.raises(ReIDError, match=r"times\.csv is no table: field larger"):
        TravelTimes.read(tmp_path / "times.csv")
