"""Open-set figures worked out by hand: thresholds, false alarms, ties, and what is refused."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import yaml

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import pair_scores
from reid_lightning.ranking.open_set import OWN_VEHICLE_LEFT_OUT, UNMATCHED_QUERIES, evaluate_open_set, open_set_of
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.scores import DistanceScores


def test_worked_out_by_hand():
    # Cosines .96 same, .8 different, .6 same, .28 different, 0 different.
    gallery = torch.tensor([[0.96, 0.28], [0.8, 0.6], [0.6, 0.8], [0.28, 0.96], [0.0, 1.0]])
    names = {"query_ids": ["a"], "gallery_ids": ["a", "b", "a", "b", "c"]}
    result = evaluate_open_set(torch.tensor([[2.0, 0.0]]), gallery, **names, false_match_rates=(0.4, 0.1), far=(0.5,))
    strict, loose = result.match_points
    assert (strict.asked_rate, strict.false_match_rate, strict.true_match_rate) == (0.1, 0, 0.5)
    assert strict.threshold == pytest.approx(0.96)  # .8 would let one of three in
    assert (loose.false_matches, loose.false_match_rate, loose.true_match_rate) == (1, 1 / 3, 1)
    assert loose.threshold == pytest.approx(0.6)  # the smallest score above .28, which a second one would reach
    assert (strict.queries_with_false_match, loose.queries_with_false_match) == (0, 1)
    assert result.auc == pytest.approx(5 / 6)  # .96 beats three of three, .6 two of three
    assert result.eer == pytest.approx((1 / 3 + 1 / 2) / 2) and result.eer_threshold == pytest.approx(0.8)
    (alarm,) = result.identification_points
    assert alarm.threshold == pytest.approx(0.96)  # without vehicle a, the best answer scores .8: no more of those
    assert (alarm.false_alarms, alarm.detection_rate) == (0, 1)
    assert result.curve.false_match_rate.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert result.curve.true_match_rate.tolist() == [0.5, 0.5, 1, 1, 1]
    assert result.curve.threshold.tolist() == pytest.approx([0.96, 0.8, 0.6, 0.28, 0], abs=3e-3)


def test_no_score_is_high_enough():
    # The best of all is a wrong one: nothing can match without it, so nothing matches.
    names = {"query_ids": [0], "gallery_ids": [0, 1]}
    result = evaluate_open_set(torch.tensor([[1.0, 0]]), torch.tensor([[0.6, 0.8], [1, 0]]), **names)
    for point in result.match_points:
        assert point.threshold == np.nextafter(np.float32(1), np.float32(2))
        assert (point.false_match_rate, point.true_match_rate) == (0, 0)
    assert all(point.detection_rate == 0 for point in result.identification_points)
    assert (result.auc, result.eer) == (0, 1)


def test_perfect_scores():
    names = {"query_ids": [0, 1], "gallery_ids": [0, 1]}
    result = evaluate_open_set(torch.eye(2), torch.eye(2), **names)
    assert (result.auc, result.eer, result.auc_error) == (1, 0, 0)
    assert all((point.threshold, point.true_match_rate) == (1, 1) for point in result.match_points)
    assert all((point.threshold, point.detection_rate) == (1, 1) for point in result.identification_points)


def test_all_scores_equal():
    names = {"query_ids": [0, 1, 2], "gallery_ids": [2, 0, 1, 1]}
    result = evaluate_open_set(torch.ones(3, 4), torch.ones(4, 4), **names, far=(0.4,))
    assert result.auc == 0.5 and result.eer == 0.5
    assert all(point.true_match_rate == 0 for point in result.match_points)
    distances = evaluate_open_set(torch.ones(3, 4), torch.ones(4, 4), **names, metric="euclidean", far=(0.4,))
    assert distances.eer_threshold == 0 and math.copysign(1, distances.eer_threshold) == 1
    assert [point.true_match_rate for point in distances.match_points] == [0] * 4
    assert all(point.threshold < 0 for point in distances.match_points)  # a distance that no pair has


def test_false_alarms_come_from_unmatched_queries_when_there_are_enough():
    generator = torch.Generator().manual_seed(1)
    query, gallery = torch.randn(30, 8, generator=generator), torch.randn(40, 8, generator=generator)
    names = {"query_ids": [*range(20), *range(100, 110)], "gallery_ids": [row % 20 for row in range(40)]}
    result = evaluate_open_set(query, gallery, **names, far=(0.1, 0.5))
    assert (result.false_alarm_source, result.false_alarm_queries) == (UNMATCHED_QUERIES, 10)
    assert [point.false_alarms for point in result.identification_points] == [1, 5]
    fewer = evaluate_open_set(query, gallery, **names, far=(0.05,))
    assert (fewer.false_alarm_source, fewer.false_alarm_queries) == (OWN_VEHICLE_LEFT_OUT, 30)
    assert [point.false_alarms for point in fewer.identification_points] == [1]
    best = (torch.nn.functional.normalize(query[20:]) @ torch.nn.functional.normalize(gallery).T).amax(1)
    assert result.identification_points[0].threshold >= best.sort().values[-2].item() - 1e-6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_junk_counts_nowhere(metric):
    generator = torch.Generator().manual_seed(2)
    query, gallery = torch.randn(12, 8, generator=generator), torch.randn(50, 8, generator=generator)
    gallery[40:] = query[:10]  # each the best match there could be
    names = {"query_ids": [row % 4 for row in range(12)], "gallery_ids": [row % 5 for row in range(50)]}
    with_junk = evaluate_open_set(query, gallery, **names, metric=metric, jk_index=[list(range(40, 50))] * 12)
    names["gallery_ids"] = names["gallery_ids"][:40]
    without = evaluate_open_set(query, gallery[:40], **names, metric=metric)
    assert (with_junk.junk, without.junk) == ("jk_index", "none")
    same = {"same_pairs", "different_pairs", "queries", "queries_without_match", "false_alarm_queries"}
    for name in same:
        assert getattr(with_junk, name) == getattr(without, name)
    for ours, expected in zip(
        with_junk.match_points + with_junk.identification_points,
        without.match_points + without.identification_points,
        strict=True,
    ):
        assert list(vars(ours).values()) == pytest.approx(list(vars(expected).values()), abs=1e-6)
    assert torch.equal(with_junk.histogram.different, without.histogram.different)


def test_gt_index_decides_what_is_the_same():
    names = {"query_ids": [0, 0], "gallery_ids": [0, 0, 0]}
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    result = evaluate_open_set(torch.eye(2), gallery, **names, gt_index=[[0], [1]])
    assert (result.same_pairs, result.different_pairs) == (2, 4)
    assert result.auc == 1


def test_ties_for_the_first_place_go_to_the_earlier_row():
    names = {"query_ids": ["a", "b"], "gallery_ids": ["a", "b"]}
    result = evaluate_open_set(torch.ones(2, 2), torch.ones(2, 2), **names, far=(0.9,))
    # Both queries score 1 with both rows: row 0 comes first, right for the first query alone, and every alarm is 1 too.
    (point,) = result.identification_points
    assert (point.threshold, point.detection_rate) == (np.nextafter(np.float32(1), np.float32(2)), 0)
    scores = DistanceScores(torch.tensor([[1.0, 1.0], [1.0, 1.0], [5.0, 9.0]]), metric="drawn")
    result = open_set_of(RankingProblem(scores, query_ids=["a", "b", "a"], gallery_ids=["a", "b"]), far=(0.7,))
    (point,) = result.identification_points  # alarms at distances 1, 1, 9: two of three are allowed
    assert (point.threshold, point.false_alarms, point.detection_rate) == (5, 2, 2 / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_as_float32(dtype):
    generator = torch.Generator().manual_seed(3)
    query, gallery = (torch.randn(n, 16, generator=generator).to(dtype) for n in (10, 50))
    names = {"query_ids": [row % 4 for row in range(10)], "gallery_ids": [row % 5 for row in range(50)]}
    came = evaluate_open_set(query, gallery, **names).as_dict()
    assert came == evaluate_open_set(query.float(), gallery.float(), **names).as_dict()


def test_distances_of_any_kind_negative_ones_too():
    distances = torch.tensor([[-3.0, 0.5, 2.0, -0.0], [0.0, -1.0, 4.0, 300.0]])
    ranking = RankingProblem(DistanceScores(distances, metric="drawn"), query_ids=[0, 1], gallery_ids=[0, 1, 2, 3])
    result = open_set_of(ranking, false_match_rates=(0.1, 0.2, 0.5), far=(0.5,))
    # Same: -3 and -1. Different: 0, 0 (the minus is none), 0.5, 2, 4, 300.
    assert [point.threshold for point in result.match_points] == [-1, -1, 0.5]
    assert [point.false_matches for point in result.match_points] == [0, 0, 3]
    assert not result.similarity and result.metric == "drawn"
    assert result.as_dict()["match_when"] == "distance <= threshold"
    assert result.histogram.edges[0] <= -3 and result.histogram.edges[-1] >= 300
    assert result.histogram.same.sum() == 2 and result.histogram.different.sum() == 6


def test_zero_has_no_sign():
    distances = torch.tensor([[9.0, -1.0, 0.0, -0.0, 1.0]])
    ranking = RankingProblem(DistanceScores(distances, metric="drawn"), query_ids=[0], gallery_ids=[0, 1, 2, 3, 4])
    half, most = open_set_of(ranking, false_match_rates=(0.5, 0.75), far=(0.5,)).match_points
    assert (half.threshold, half.false_matches) == (-1, 1)  # both zeros or neither
    assert (most.threshold, most.false_matches) == (0, 3)
    distances = torch.tensor([[-5.0, -0.0, 1.0]])
    ranking = RankingProblem(DistanceScores(distances, metric="drawn"), query_ids=[0], gallery_ids=[0, 1, 2])
    (point,) = open_set_of(ranking, false_match_rates=(0.5,), far=(0.5,)).match_points
    assert math.copysign(1, point.threshold) == 1


def test_euclidean_distances_compare_between_queries():
    # The second query is long: 2 q.g - |g|^2 alone would put its wrong pair before the right pair of the first.
    query, gallery = torch.tensor([[0.0, 0.0], [100.0, 0.0]]), torch.tensor([[3.0, 4.0], [94.0, 8.0]])
    names = {"query_ids": ["a", "b"], "gallery_ids": ["a", "b"]}
    result = evaluate_open_set(query, gallery, **names, metric="euclidean", false_match_rates=(0.1,), far=(0.1,))
    assert result.match_points[0].threshold == 10  # same pairs at 5 and 10, the others at 94 and 97
    assert result.match_points[0].true_match_rate == 1 and result.auc == 1


@pytest.mark.parametrize("total", [1, 2, 7, 29, 100, 1_000_003])
def test_allowed_counts_are_those_whose_share_is_at_most_the_rate(total):
    for rate in (1e-6, 0.01, 0.07, 0.1, 0.29, 1 / 3, 0.57, 0.7, 0.999):
        count = pair_scores.allowed(rate, total)
        assert count / total <= rate < (count + 1) / total
    for count in {1, total // 3, total - 1} - {0, total}:  # a rate that is met exactly is met
        assert pair_scores.allowed(float(Fraction(count, total)), total) == count


def test_as_dict_is_plain_and_names_what_was_compared():
    names = {"query_ids": [0, 1], "gallery_ids": [0, 1]}
    result = evaluate_open_set(torch.eye(2), torch.eye(2), **names)
    values = json.loads(json.dumps(result.as_dict()))
    assert values["metric"] == "cosine" and values["match_when"] == "score >= threshold"
    assert values["match_points"][0]["asked_rate"] == 1e-4
    assert values["histogram"]["different"][64] == 2  # scores of 0
    assert len(values["curve"]["threshold"]) == 2
    assert yaml.safe_load(yaml.safe_dump(result.as_dict())) == values
    assert "2 same-vehicle and 2 different-vehicle pairs" in result.describe()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gallery_ids": [5, 6]}, "0 same-vehicle and 4 different-vehicle pairs"),
        ({"query_ids": [1, 1], "gallery_ids": [1, 1]}, "4 same-vehicle and 0 different-vehicle pairs"),
        ({"false_match_rates": ()}, "false_match_rates"),
        ({"false_match_rates": (0.1, 1)}, "false_match_rates"),
        ({"far": (0,)}, "far"),
        ({"far": (float("nan"),)}, "far"),
        ({"metric": "manhattan"}, "metric"),
        ({"query_cameras": [1, 2]}, "gallery_cameras is missing"),
    ],
)
def test_mistakes_are_named(changes, words):
    arguments = {"query_ids": [1, 2], "gallery_ids": [1, 2]} | changes
    with pytest.raises(ReIDError, match=words):
        evaluate_open_set(torch.eye(2), torch.eye(2), **arguments)
