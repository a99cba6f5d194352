"""Decisions over whole tracks: meanMCD50 by hand and against a slow loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.search.matching.track_decisions import decide_tracks
from reid_lightning.search.records import Candidate

PICTURE = np.zeros((2, 2, 3), np.uint8)


def seen(track, frame=0, type="car"):
    return Candidate(PICTURE, frame=frame, seconds=frame / 10, track=track, type=type)


def unit(cosine):
    """A vector whose cosine to (1, 0) is `cosine`."""
    return [cosine, (1 - cosine**2) ** 0.5]


def test_the_mean_of_the_closer_half_by_hand():
    # four pictures: closest distances to A's one picture .1 .2 .5 .9; n // 2 + 1 = 3 count: mean .8 / 3
    query = torch.tensor([unit(0.1), unit(0.9), unit(0.5), unit(0.8)])
    candidates = [seen(3, frame, kind) for frame, kind in ((9, "car"), (4, "truck"), (6, "car"), (5, "car"))]
    (decision,) = decide_tracks(candidates, query, {("A", "s"): torch.tensor([[5.0, 0.0]])}, min_score=0.7)
    assert decision.similarity == pytest.approx(1 - 0.8 / 3)
    assert (decision.track, decision.vehicle, decision.sighting, decision.accepted) == (3, "A", "s", True)
    assert (decision.first_frame, decision.last_frame, decision.first_seconds, decision.last_seconds) == (
        4,
        9,
        0.4,
        0.9,
    )
    assert (decision.crops, decision.type, decision.rank) == (4, "car", 1)
    (strict,) = decide_tracks(candidates, query, {("A", "s"): torch.tensor([[5.0, 0.0]])}, min_score=0.74)
    assert not strict.accepted


def slow_similarity(query, gallery):
    distances = sorted(min(1 - float(torch.cosine_similarity(one, other, dim=0)) for other in gallery) for one in query)
    half = distances[: len(distances) // 2 + 1]
    return 1 - sum(half) / len(half)


def test_vehicles_are_ranked_by_their_best_sighting():
    generator = torch.Generator().manual_seed(2)
    gallery = {
        (vehicle, sighting): torch.randn(1 + number, 6, generator=generator)
        for number, (vehicle, sighting) in enumerate([("B", "2"), ("A", "1"), ("C", "9"), ("B", "1"), ("A", "5")])
    }
    candidates = [seen(track) for track in (2, 1, 2, 2, 1)] + [seen(None)]
    embeddings = torch.randn(6, 6, generator=generator)
    decisions = decide_tracks(candidates, embeddings, gallery, min_score=0.2)
    expected = []
    for track, rows in ((1, [1, 4]), (2, [0, 2, 3])):
        best = {}
        for (vehicle, sighting), pictures in gallery.items():
            similarity = slow_similarity(embeddings[rows], pictures)
            best[vehicle] = max(best.get(vehicle, (-2, "")), (similarity, sighting))
        ranked = sorted(best.items(), key=lambda entry: -entry[1][0])
        expected += [(track, vehicle, sighting, value) for vehicle, (value, sighting) in ranked]
    assert [(one.track, one.vehicle, one.sighting) for one in decisions] == [entry[:3] for entry in expected]
    assert [one.similarity for one in decisions] == pytest.approx([entry[3] for entry in expected], abs=1e-6)
    assert [one.accepted for one in decisions] == [one.rank == 1 and one.similarity >= 0.2 for one in decisions]
    assert [one.rank for one in decisions] == [1, 2, 3] * 2
    assert decide_tracks(candidates, embeddings, gallery, top_k=1)[1].vehicle == expected[3][1]


def test_a_track_has_one_answer_however_many_vehicles_reach_the_threshold():
    gallery = {(name, "1"): torch.tensor([unit(cosine)]) for name, cosine in (("A", 0.7), ("B", 0.9), ("C", 0.8))}
    decisions = decide_tracks([seen(1)], torch.tensor([[1.0, 0.0]]), gallery, min_score=0.6)
    assert [(one.vehicle, one.rank, one.accepted) for one in decisions] == [
        ("B", 1, True),
        ("C", 2, False),
        ("A", 3, False),
    ]
    assert [one.accepted for one in (decision.judged(0.95) for decision in decisions)] == [False] * 3
    assert [one.judged(-1).accepted for one in decisions] == [True, False, False]
    equal = {("B", "1"): torch.eye(2), ("A", "2"): torch.eye(2)}
    assert [one.accepted for one in decide_tracks([seen(1)], torch.tensor([[1.0, 0.0]]), equal)] == [True, False]


def test_ties_go_by_name():
    gallery = {("B", "1"): torch.eye(2), ("A", "2"): torch.eye(2), ("A", "1"): torch.eye(2)}
    decisions = decide_tracks([seen(1)], torch.tensor([[1.0, 0.0]]), gallery)
    assert [(one.vehicle, one.sighting) for one in decisions] == [("A", "1"), ("B", "1")]


def test_what_cannot_be_compared_is_named():
    gallery = {("A", "1"): torch.eye(2)}
    assert decide_tracks([], torch.empty(0, 2), gallery) == []
    assert decide_tracks([seen(None)], torch.eye(2)[:1], gallery) == []
    with pytest.raises(ReIDError, match="no sighting"):
        decide_tracks([seen(1)], torch.eye(2)[:1], {})
    with pytest.raises(ReIDError, match="1 candidates came with 2"):
        decide_tracks([seen(1)], torch.eye(2), gallery)
    with pytest.raises(ReIDError, match="all must come from one model"):
        decide_tracks([seen(1)], torch.ones(1, 3), gallery)
    with pytest.raises(ReIDError, match="min_score is 6"):
        decide_tracks([seen(1)], torch.eye(2)[:1], gallery, min_score=6)
    with pytest.raises(ReIDError, match="top_k is 0"):
        decide_tracks([seen(1)], torch.eye(2)[:1], gallery, top_k=0)


def test_a_prior_weighs_sightings_by_the_middle_of_the_track():
    gallery = {("A", "near"): torch.tensor([[1.0, 0.0]]), ("A", "far"): torch.tensor([[0.6, 0.8]])}
    gallery["B", "other"] = torch.tensor([[-1.0, 0.0]])
    candidates = [replace(seen(1), seconds=seconds) for seconds in (2.0, 3.0, 12.0)]
    asked = set()

    def prior(key, seconds):
        asked.add((key, seconds))
        return 0.5

    plain = decide_tracks(candidates, torch.tensor([[1.0, 0.0]] * 3), gallery)
    weighed = decide_tracks(candidates, torch.tensor([[1.0, 0.0]] * 3), gallery, prior=prior)
    assert asked == {(key, 7.0) for key in gallery}
    assert [one.similarity for one in plain] == pytest.approx([1.0, -1.0])
    assert [one.similarity for one in weighed] == pytest.approx([0.5, -1.0])  # what is below 0 stays
    assert [one.accepted for one in plain + weighed] == [True, False, False, False]
    decisions = decide_tracks(
        candidates, torch.tensor([[1.0, 0.0]] * 3), gallery, prior=lambda key, _: 0.1 if key[1] == "near" else 1.0
    )
    assert (decisions[0].sighting, decisions[0].similarity) == ("far", pytest.approx(0.6))
