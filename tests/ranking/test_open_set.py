import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import yaml

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import pair_scores, problem
from reid_lightning.ranking.open_set import OWN_VEHICLE_LEFT_OUT, UNMATCHED_QUERIES, evaluate_open_set, open_set_of
from reid_lightning.ranking.open_set_result import (
    Calibration,
    CompactHistogram,
    ScoreHistogram,
    calibrate_threshold,
)
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores

RATES = (0.001, 0.01, 0.1, 0.3, 0.9)


def slow_threshold(rate, wrong, right):
    """The smallest score that at most a share `rate` of the wrong scores reach, by trying all of them."""
    wrong = np.array(wrong)
    fitting = [t for t in {*wrong, *right} if (wrong >= t).sum() / len(wrong) <= rate]
    return min(fitting) if fitting else np.nextafter(wrong.max(), wrong.dtype.type(np.inf))


def slow_open_set(scores, right, junk):
    """Every pair of a score matrix sorted into lists, query by query: (same, different, best same, best different,
    whether the first is right), the last three per query and None where there is nothing."""
    same, different, best_same, best_different, first_right = [], [], [], [], []
    for row in range(len(scores)):
        kept = [column for column in range(len(scores[row])) if not junk[row][column]]
        mine = [scores[row][column] for column in kept if right[row][column]]
        others = [scores[row][column] for column in kept if not right[row][column]]
        same += mine
        different += others
        best_same.append(max(mine, default=None))
        best_different.append(max(others, default=None))
        order = sorted(kept, key=lambda column: (-scores[row][column], column))
        first_right.append(bool(order) and right[row][order[0]])
    return same, different, best_same, best_different, first_right


def check_against_plain_sorts(result, scores, right, junk):
    """All numbers of `result` but the histogram, from scores where higher is more similar."""
    sign = 1 if result.similarity else -1
    same, different, best_same, best_different, first_right = slow_open_set(scores, right, junk)
    assert (result.same_pairs, result.different_pairs) == (len(same), len(different))
    assert result.queries_without_match == best_same.count(None)
    for point in result.match_points:
        threshold = slow_threshold(point.asked_rate, different, same)
        assert point.threshold == sign * threshold
        assert point.false_matches == sum(score >= threshold for score in different)
        assert point.false_match_rate == point.false_matches / len(different) <= point.asked_rate
        assert point.true_match_rate == pytest.approx(np.mean([score >= threshold for score in same]), abs=1e-12)
        alarmed = [best is not None and best >= threshold for best in best_different]
        assert point.queries_with_false_match == pytest.approx(np.mean(alarmed), abs=1e-12)
    if result.false_alarm_source == UNMATCHED_QUERIES:
        alarms = [best for best, own in zip(best_different, best_same, strict=True) if own is None]
    else:
        alarms = best_different
    alarms = [type(same[0])(-np.inf) if best is None else best for best in alarms]
    detected = [best for best, first in zip(best_same, first_right, strict=True) if first]
    mated = len(best_same) - best_same.count(None)
    assert result.false_alarm_queries == len(alarms)
    for point in result.identification_points:
        threshold = slow_threshold(point.asked_rate, alarms, detected)
        assert point.threshold == sign * threshold
        assert point.false_alarms == sum(score >= threshold for score in alarms)
        assert point.false_alarm_rate == point.false_alarms / len(alarms)
        assert point.detection_rate == pytest.approx(sum(score >= threshold for score in detected) / mated, abs=1e-12)
    same, different = np.array(same), np.array(different)
    wins = sum((score > different).sum() + (score == different).sum() / 2 for score in same)
    assert abs(result.auc - wins / len(same) / len(different)) <= result.auc_error + 1e-12
    curve = {t: ((different >= t).mean(), (same >= t).mean()) for t in {*same, *different}}
    closest = min(sorted(curve), key=lambda t: round(abs(curve[t][0] - (1 - curve[t][1])), 12))
    assert result.eer_threshold == sign * closest
    assert result.eer == pytest.approx((curve[closest][0] + 1 - curve[closest][1]) / 2, abs=1e-12)
    points = {(round(false, 12), round(true, 12)) for false, true in curve.values()}
    ours = list(zip(result.curve.false_match_rate.tolist(), result.curve.true_match_rate.tolist(), strict=True))
    assert {(round(false, 12), round(true, 12)) for false, true in ours} <= points
    assert ours[-1] == (1, 1) and ours == sorted(ours)
    assert result.histogram.same.sum() == len(same) and result.histogram.different.sum() == len(different)


def names_and_junk(generator, queries, gallery, *, identities, with_cameras):
    """Arguments of an evaluation, and the same as matrices of right answers and junk."""
    names = {
        "query_ids": torch.randint(0, identities + 1, (queries,), generator=generator).tolist(),
        "gallery_ids": torch.randint(0, identities, (gallery,), generator=generator).tolist(),
    }
    right = [[one == other for other in names["gallery_ids"]] for one in names["query_ids"]]
    junk = [[False] * gallery for _ in range(queries)]
    if with_cameras:
        names["query_cameras"] = torch.randint(0, 3, (queries,), generator=generator).tolist()
        names["gallery_cameras"] = torch.randint(0, 3, (gallery,), generator=generator).tolist()
        junk = [
            [right[row][column] and camera == names["query_cameras"][row] for column, camera in enumerate(cameras)]
            for row, cameras in enumerate([names["gallery_cameras"]] * queries)
        ]
    return names, right, junk


def comparable_matrix(scores, ranking):
    """All scores as the evaluation sees them: products of other sizes round otherwise."""
    parts = []
    for chunk in ranking:
        out = torch.empty_like(chunk.scores)
        parts.append(scores.comparable(chunk.start, scores.block(chunk.start, chunk.start + len(out), out=out)))
    return torch.cat(parts).numpy()


@pytest.fixture(params=["kept", "computed twice"])
def passes(request, monkeypatch):
    """Several chunks of several blocks, with the scores kept in memory and without."""
    monkeypatch.setattr(problem, "_CHUNK_ELEMENTS", 330)
    monkeypatch.setattr(pair_scores, "_rows_at_a_time", lambda problem: 2)
    monkeypatch.setattr(pair_scores, "_PENDING", 40)
    if request.param == "computed twice":
        monkeypatch.setattr(pair_scores, "_KEPT", 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_plain_sorts_with_ties_junk_and_unmatched_queries(metric, dtype, seed, passes):
    generator = torch.Generator().manual_seed(seed)
    if metric == "cosine":  # 16 signs: every length is 4, every score a multiple of 1/8
        query, gallery = ((torch.randint(0, 2, (n, 16), generator=generator) * 2 - 1).to(dtype) for n in (13, 60))
        scores = (query @ gallery.T / 16).numpy()
    else:
        query, gallery = (torch.randint(-2, 3, (n, 3), generator=generator).to(dtype) for n in (13, 60))
        scores = -np.sqrt(((query[:, None] - gallery) ** 2).sum(2).numpy())
    names, right, junk = names_and_junk(generator, 13, 60, identities=6, with_cameras=seed % 2 == 0)
    result = evaluate_open_set(query, gallery, **names, metric=metric, false_match_rates=RATES, far=(0.05, 0.3))
    check_against_plain_sorts(result, scores, right, junk)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_plain_sorts_on_scores_that_are_all_different(metric, seed, passes):
    generator = torch.Generator().manual_seed(seed)
    query, gallery = torch.randn(15, 24, generator=generator), torch.randn(80, 24, generator=generator)
    query, gallery = query + 2, gallery + 2  # scores far from zero and close together, as those of networks are
    names, right, junk = names_and_junk(generator, 15, 80, identities=5, with_cameras=True)
    scores = EmbeddingScores(query, gallery, metric=metric)
    result = open_set_of(RankingProblem(scores, **names), false_match_rates=RATES, far=(0.1,))
    matrix = comparable_matrix(scores, RankingProblem(scores, **names))
    check_against_plain_sorts(result, matrix, right, junk)
    same, different, *_ = slow_open_set(matrix, right, junk)
    edges = result.histogram.edges.numpy()
    sign = 1 if metric == "cosine" else -1
    for counts, came in ((result.histogram.same, same), (result.histogram.different, different)):
        assert counts.tolist() == np.histogram(sign * np.array(came, dtype=np.float64), edges)[0].tolist()
    if metric == "cosine":
        assert edges.tolist() == [step / 64 for step in range(-64, 65)]
    assert np.allclose(np.diff(edges), edges[1] - edges[0]) and math.log2(edges[1] - edges[0]).is_integer()
    assert result.auc_error < 2e-3
    assert len(result.curve.threshold) > 100


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_a_sort_of_a_million_pairs(metric):
    generator = torch.Generator().manual_seed(8)
    names = {"query_ids": [row % 50 for row in range(400)], "gallery_ids": [row % 50 for row in range(2500)]}
    centres = torch.randn(50, 32, generator=generator)
    query, gallery = (
        (centres[names[side]] + 2 * torch.randn(len(names[side]), 32, generator=generator)).relu()
        for side in ("query_ids", "gallery_ids")
    )
    scores = EmbeddingScores(query, gallery, metric=metric)
    result = open_set_of(RankingProblem(scores, **names), false_match_rates=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1))
    matrix = comparable_matrix(scores, RankingProblem(scores, **names))
    right = np.array(names["query_ids"])[:, None] == np.array(names["gallery_ids"])
    same, different = np.sort(matrix[right]), np.sort(matrix[~right])[::-1]
    sign = 1 if metric == "cosine" else -1
    for point in result.match_points:
        refused = different[int(point.asked_rate * len(different))]
        threshold = min(different[different > refused][-1], same[same > refused][0])
        assert point.threshold == sign * threshold
        assert point.true_match_rate == (same >= threshold).mean()
        assert point.queries_with_false_match == ((matrix * ~right - 9e9 * right).max(1) >= threshold).mean()
    ascending = different[::-1]
    below = (ascending.searchsorted(same, side="left") + ascending.searchsorted(same, side="right")) / 2
    assert abs(result.auc - below.mean() / len(different)) < 2e-6  # half of the ties go either way, and
    assert 0 < result.auc_error < 3e-4  # this is the bound, were they all to go one way
    assert 250 < len(result.curve.threshold) <= 512
    for threshold, false, true in zip(*(values.tolist() for values in vars(result.curve).values()), strict=True):
        assert abs((different >= sign * threshold).mean() - false) < 1e-5  # a threshold is right to rounding
        assert abs((same >= sign * threshold).mean() - true) < 1e-4


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


def test_calibration():
    generator = torch.Generator().manual_seed(4)
    query, gallery = torch.randn(40, 8, generator=generator), torch.randn(60, 8, generator=generator)
    names = {"query_ids": [row % 10 for row in range(40)], "gallery_ids": [row % 10 for row in range(60)]}
    for metric in ("cosine", "euclidean"):
        result = evaluate_open_set(query, gallery, **names, metric=metric, false_match_rates=(1e-3, 1e-1))
        calibration = calibrate_threshold(result, false_match_rate=0.1)
        point = result.match_points[1]
        assert (calibration.threshold, calibration.true_match_rate) == (point.threshold, point.true_match_rate)
        assert calibration.measured_false_match_rate == point.false_match_rate <= 0.1 == calibration.false_match_rate
        assert (calibration.same_pairs, calibration.different_pairs) == (240, 2160)
        assert (calibration.metric, calibration.similarity) == (metric, metric == "cosine")
        assert calibration.junk == "none" and calibration.protocol == "image to image" and calibration.warning == ""
        assert Calibration(**yaml.safe_load(yaml.safe_dump(calibration.as_dict()))) == calibration
        scarce = calibrate_threshold(result, false_match_rate=1e-3)
        assert "2,160 different-vehicle pairs are too few" in scarce.warning and "0.005 or more" in scarce.warning
        with pytest.raises(ReIDError, match=r"false_match_rate is 0\.5; the evaluation was asked for 0\.001, 0\.1"):
            calibrate_threshold(result, false_match_rate=0.5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_calibration_carries_the_scores_of_its_pairs(metric):
    generator = torch.Generator().manual_seed(5)
    query, gallery = torch.randn(40, 8, generator=generator), torch.randn(60, 8, generator=generator)
    query_ids, gallery_ids = [row % 10 for row in range(40)], [row % 10 for row in range(60)]
    result = evaluate_open_set(query, gallery, query_ids=query_ids, gallery_ids=gallery_ids, metric=metric)
    calibration = calibrate_threshold(result, false_match_rate=0.1)
    histogram = calibration.histogram
    bins = len(histogram.same)
    assert bins <= 64 and histogram.low < histogram.high
    edges = [histogram.low + number * histogram.step for number in range(bins + 1)]
    counted = {True: [0] * bins, False: [0] * bins}
    for one, identity in zip(query.double(), query_ids, strict=True):
        for other, same in zip(gallery.double(), [name == identity for name in gallery_ids], strict=True):
            score = (one @ other / one.norm() / other.norm() if metric == "cosine" else (one - other).norm()).item()
            counted[same][sum(edge <= score for edge in edges) - 1] += 1
    assert list(histogram.same) == counted[True] and list(histogram.different) == counted[False]
    assert (sum(histogram.same), sum(histogram.different)) == (calibration.same_pairs, calibration.different_pairs)
    assert histogram.same[0] + histogram.different[0] and histogram.same[-1] + histogram.different[-1]
    assert Calibration(**yaml.safe_load(yaml.safe_dump(calibration.as_dict()))) == calibration
    without = {name: value for name, value in calibration.as_dict().items() if name != "histogram"}
    assert Calibration(**without).histogram is None  # as older bundles have it


def test_bins_are_put_together_and_empty_ends_left_out():
    same, different = torch.zeros(12, dtype=torch.int64), torch.zeros(12, dtype=torch.int64)
    same[9], different[2], different[3], different[8] = 5, 1, 2, 4
    histogram = ScoreHistogram(torch.arange(13) / 4, same, different)
    assert histogram.compact(8) == CompactHistogram(0.5, 2.5, (0, 0, 0, 0, 0, 0, 0, 5), (1, 2, 0, 0, 0, 0, 4, 0))
    assert histogram.compact(7) == CompactHistogram(0.5, 2.5, (0, 0, 0, 5), (3, 0, 0, 4))
    assert histogram.compact(1) == CompactHistogram(0.0, 4.0, (5,), (7,))


def test_shares_above_a_score_are_read_from_a_histogram():
    histogram = CompactHistogram(0.0, 1.0, (0, 1, 1, 2), (6, 2, 0, 0))
    assert histogram.shares_from(0.5) == (3 / 4, 0)
    assert histogram.shares_from(0.25) == (1, 2 / 8)
    assert histogram.shares_from(0.375) == (3.5 / 4, 1 / 8)
    assert histogram.shares_from(-3) == (1, 1) and histogram.shares_from(1.0) == (0, 0)
    assert CompactHistogram(0.0, 1.0, (0,), (3,)).shares_from(0) == (0, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"same": [1, -1]}, "same of a histogram"),
        ({"same": "12"}, "same of a histogram"),
        ({"different": [1.5, 2]}, "different of a histogram"),
        ({"different": []}, "different of a histogram"),
        ({"same": [1]}, "1 bins of same pairs and 2"),
        ({"high": 0.0}, "goes from 0.0 to 0.0"),
        ({"low": float("nan")}, "goes from nan"),
        ({"low": None}, "goes from None"),
    ],
)
def test_a_histogram_that_is_none_is_refused(values, words):
    with pytest.raises(ReIDError, match=words):
        CompactHistogram(**{"low": 0.0, "high": 1.0, "same": [1, 2], "different": [3, 4], **values})


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
