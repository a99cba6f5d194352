"""Which score means "the same vehicle": ROC over pairs, identification with false alarms, and a threshold for search.

mAP ranks a gallery that is known to hold the vehicle; a search must also be able to answer that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.open_set_result import (
    IdentificationPoint,
    MatchPoint,
    OpenSetResult,
    RocCurve,
    ScoreHistogram,
)
from reid_lightning.ranking.pair_scores import Ladder, PairScores
from reid_lightning.ranking.problem import RankingLabels, RankingProblem
from reid_lightning.ranking.scores import EmbeddingScores, Metric

UNMATCHED_QUERIES = "queries without a right answer in the gallery"
OWN_VEHICLE_LEFT_OUT = "all queries, their own vehicle left out of the gallery"

_CURVE_POINTS = 512
_BINS = 128


def evaluate_open_set(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    metric: Metric = "cosine",
    false_match_rates: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
    far: Sequence[float] = (0.01, 0.1),
    **labels: Unpack[RankingLabels],
) -> OpenSetResult:
    """Compare every query with every gallery picture and ask at which score two pictures are of one vehicle.

    Arguments and junk are as in `evaluate_retrieval`; a pair is a right answer or a different vehicle, and junk is
    neither.

    Two populations answer two questions:

    - Pairs. A pair matches when its score is at least t. FPR(t) and TPR(t) are the shares of different and same pairs
      that match; the threshold for a rate f is the smallest score t with FPR(t) <= f. A search compares its query with
      every gallery picture and shows all that match, so that f times the gallery's size is the number of wrong pictures
      it shows on average. The rate does not depend on the gallery's size, which is why search is calibrated on it.
    - Searches: detection and identification rate at rank 1 (Phillips, Grother and Micheals, "Evaluation Methods in Face
      Recognition", 2011; Grother and Ngan, NIST IR 8009). A search for a vehicle that is not there raises a false alarm
      when its best answer scores at least t. The larger the gallery, the more alarms: the rate holds for this gallery.

    Pairs are not independent: pictures of one vehicle, and of two that look alike, agree or fail together.

    Args:
        false_match_rates: rates f of false matches among pairs, in (0, 1).
        far: rates of false alarms among searches, in (0, 1). Alarms are those of the queries without a right answer
            where these are enough to see the smallest rate once (1 / rate of them); else those of all queries, each
            with its own vehicle left out of the gallery. The result's `false_alarm_source` says which.

    Raises:
        ReIDError: as `evaluate_retrieval`, a rate is not in (0, 1), or there are no same or no different pairs.
    """
    scores = EmbeddingScores(query_embeddings, gallery_embeddings, metric=metric)
    return open_set_of(RankingProblem(scores, **labels), false_match_rates=false_match_rates, far=far)


def open_set_of(
    problem: RankingProblem,
    *,
    false_match_rates: Sequence[float] = (1e-4, 1e-3, 1e-2, 1e-1),
    far: Sequence[float] = (0.01, 0.1),
) -> OpenSetResult:
    """`evaluate_open_set` for any ranking problem: of tracks, of a finished matrix of distances."""
    rates, alarm_rates = _checked("false_match_rates", false_match_rates), _checked("far", far)
    pairs = PairScores(problem)
    if not len(pairs.same) or not pairs.different:
        raise ReIDError(
            f"there are {len(pairs.same):,} same-vehicle and {pairs.different:,} different-vehicle pairs among "
            f"{count(problem.sizes[0], 'query', 'queries')} and {count(problem.sizes[1], 'gallery item')} "
            f"(junk: {problem.junk_rule}); a "
            "threshold needs both. Are the identities of both sides written alike, and is there more than one?"
        )
    crossing = pairs.crossing_cell()
    ladder = pairs.different_around([crossing, *(pairs.cell_of_rate(rate) for rate in rates)])
    sign = 1.0 if problem.scores.similarity else -1.0
    alarms, source = _false_alarms(pairs, alarm_rates)
    eer, eer_threshold = _equal_error(pairs, ladder, crossing)
    auc, auc_error = _area(pairs)
    return OpenSetResult(
        match_points=tuple(_match_point(rate, pairs, ladder, sign) for rate in rates),
        identification_points=tuple(_identification_point(rate, pairs, alarms, sign) for rate in alarm_rates),
        false_alarm_source=source,
        false_alarm_queries=alarms.total,
        auc=auc,
        auc_error=auc_error,
        eer=eer,
        eer_threshold=_shown(eer_threshold, sign),
        curve=_curve(pairs, sign),
        histogram=_histogram(pairs, similarity=problem.scores.similarity),
        same_pairs=len(pairs.same),
        different_pairs=pairs.different,
        queries=problem.sizes[0],
        queries_without_match=int(np.isneginf(pairs.best_same).sum()),
        gallery=problem.sizes[1],
        metric=problem.scores.metric,
        similarity=problem.scores.similarity,
        junk=problem.junk_rule,
        protocol=problem.protocol,
    )


def _checked(name: str, rates: Sequence[float]) -> list[float]:
    rates = sorted({float(rate) for rate in rates})
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise ReIDError(f"{name} is {rates}; expected shares between 0 and 1, such as 0.001.")
    return rates


def _shown(score: float | np.floating, sign: float) -> float:
    """A cosine similarity as it is, or the distance of a negative one; never -0."""
    return sign * float(score) + 0.0


def _match_point(rate: float, pairs: PairScores, ladder: Ladder, sign: float) -> MatchPoint:
    threshold = ladder.threshold(rate, pairs.same)
    false_matches = int(ladder.count(threshold))
    return MatchPoint(
        asked_rate=rate,
        threshold=_shown(threshold, sign),
        false_match_rate=false_matches / ladder.total,
        true_match_rate=float((pairs.same >= threshold).mean()),
        false_matches=false_matches,
        queries_with_false_match=float((pairs.best_different >= threshold).mean()),
    )


def _false_alarms(pairs: PairScores, rates: Sequence[float]) -> tuple[Ladder, str]:
    """The best answers of searches for vehicles that are not there, and whose searches these are."""
    unmatched = np.isneginf(pairs.best_same)
    if unmatched.sum() * min(rates) >= 1:
        return Ladder.of(pairs.best_different[unmatched]), UNMATCHED_QUERIES
    return Ladder.of(pairs.best_different), OWN_VEHICLE_LEFT_OUT


def _identification_point(rate: float, pairs: PairScores, alarms: Ladder, sign: float) -> IdentificationPoint:
    detected = np.sort(pairs.best_same[pairs.same_is_first])
    threshold = alarms.threshold(rate, detected)
    count = int(alarms.count(threshold))
    return IdentificationPoint(
        asked_rate=rate,
        threshold=_shown(threshold, sign),
        false_alarm_rate=count / alarms.total,
        detection_rate=float((detected >= threshold).sum() / (~np.isneginf(pairs.best_same)).sum()),
        false_alarms=count,
    )


def _equal_error(pairs: PairScores, ladder: Ladder, crossing: int) -> tuple[float, float]:
    """(FPR + FNR) / 2 at the lowest score where they are closest, and that score: it lies in the cell `crossing` or is
    the next one above."""
    near = []
    for scores in (pairs.same, ladder.values):
        first, last = pairs.cells(scores).searchsorted([crossing, crossing + 1])
        near.append(scores[first : last + 1])
    thresholds = np.unique(np.concatenate(near))
    false_match = ladder.count(thresholds) / ladder.total
    false_non_match = pairs.same.searchsorted(thresholds) / len(pairs.same)
    best = int(np.abs(false_match - false_non_match).argmin())
    return float(false_match[best] + false_non_match[best]) / 2, float(thresholds[best])


def _area(pairs: PairScores) -> tuple[float, float]:
    """The area under the ROC as Mann and Whitney count it, with pairs that share a cell as ties, and half of those, by
    which it can be off."""
    total = len(pairs.same) * pairs.different
    below = pairs.different_counts.cumsum() - pairs.different_counts
    shared = float(pairs.same_counts @ pairs.different_counts) / 2
    return (float(pairs.same_counts @ below) + shared) / total, shared / total


def _curve(pairs: PairScores, sign: float) -> RocCurve:
    """The ROC at the lower edges of cells; where those are many, of some whose false match rates are equally far apart
    on a logarithmic scale."""
    cells = (pairs.same_counts + pairs.different_counts).nonzero()[0][::-1]
    false_match = pairs.different_from[cells] / pairs.different
    points = np.arange(len(cells))
    if len(cells) > _CURVE_POINTS:
        wanted = np.geomspace(1 / pairs.different, 1, _CURVE_POINTS - 1)
        points = np.unique([0, *(false_match.searchsorted(wanted, side="right") - 1).clip(0)])
    threshold = sign * pairs.edges(cells[points]) + 0.0
    return RocCurve(
        threshold=torch.from_numpy(threshold),
        false_match_rate=torch.from_numpy(false_match[points]),
        true_match_rate=torch.from_numpy(pairs.same_from[cells[points]] / len(pairs.same)),
    )


def _histogram(pairs: PairScores, *, similarity: bool) -> ScoreHistogram:
    """From -1 to 1 for similarities; else over the distances that there are. Small multiples of a power of two, counted
    from the centre, are edges of cells, which makes the counts exact."""
    cells = (pairs.same_counts + pairs.different_counts).nonzero()[0]
    scores = pairs.edges(cells) - pairs.centre
    if similarity:
        step = 2 / _BINS
        low = -round(pairs.centre / step) - _BINS // 2
        high = low + _BINS
    else:
        step = math.ldexp(2 / _BINS, math.frexp(np.abs(scores).max())[1])
        low, high = math.floor(scores[0] / step), math.floor(scores[-1] / step) + 1
    bins = np.floor(scores / step).astype(np.int64).clip(low, high - 1)  # 1.0000001 is a rounded 1
    edges = np.arange(low, high + 1) * step + pairs.centre
    same, different = (
        np.bincount(bins - low, weights=counts[cells], minlength=high - low).astype(np.int64)
        for counts in (pairs.same_counts, pairs.different_counts)
    )
    if not similarity:
        edges, same, different = 0.0 - edges[::-1], same[::-1].copy(), different[::-1].copy()
    return ScoreHistogram(torch.from_numpy(edges), torch.from_numpy(same), torch.from_numpy(different))
