"""Open-set figures against plain sorts of all pairs: ties, junk, unmatched queries, many chunks."""

import math

import numpy as np
import pytest
import torch

from reid_lightning.ranking import pair_scores, problem
from reid_lightning.ranking.open_set import UNMATCHED_QUERIES, evaluate_open_set, open_set_of
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.scores import EmbeddingScores

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
