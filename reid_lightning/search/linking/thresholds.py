"""From which similarity on two sightings are likelier one vehicle: by people's answers, or by a gallery's strangers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.evidence import STEEPNESS, gap_of

STRANGERS = 200
"""Pairs of strangers without which their scores say nothing."""
FALSE_MATCH_RATE = 2e-3
"""Of strangers, who score the threshold or more. Twice that of bundles, which is of single pictures: tracks are
steadier, and times, plates and all other pairs of a group speak as well. Chosen on drawn traffic."""

_NEAR, _SOON = 10.0, 60.0  # seconds: two tracks of one camera that begin so far apart are two vehicles
_DOUBT = 0.03  # standard deviation of the threshold before anybody has answered
_DOUBT_OF_STEEPNESS = 0.5  # and of the logarithm of the steepness
_SIGMAS = 1.96  # of an interval that holds 95 %


@dataclass(frozen=True)
class Recalibrated:
    """What `answers` people's words make of a threshold: `threshold` with an interval of 95 %, `low` to `high`, and the
    `steepness`."""

    threshold: float
    low: float
    high: float
    steepness: float
    answers: int

    def describe(self) -> str:
        """In one line without a full stop."""
        return (
            f"threshold {self.threshold:.2f} ({self.low:.2f} to {self.high:.2f} in 95 of 100 cases), by "
            f"{count(self.answers, 'answer')}"
        )


def recalibrated(scores: Sequence[float], same: Sequence[bool], *, threshold: float) -> Recalibrated:
    """Move a threshold to what people said, and no further than they said enough for.

    P(same) = 1 / (1 + exp(-k (score - t))): a logistic regression (Platt, 1999) with t normal about the threshold
    before (standard deviation 0.03) and k lognormal about its usual value; the interval is that of the normal
    approximation about the greatest posterior. Which pairs were asked about makes no difference, as long as they were
    chosen by these scores.

    Args:
        scores: (N,) what was known of the pairs, as similarities.
        same: (N,) what was said.
        threshold: of before.
    """
    if len(scores) != len(same) or not len(scores):
        raise ReIDError(f"{len(scores)} scores came with {len(same)} answers; expected one for each, and one at least.")
    values, said = np.asarray(scores, float), np.asarray(same, float)

    def loss(point: np.ndarray) -> float:
        t, log_k = point
        odds = math.exp(log_k) * (values - t)
        likelihood = np.sum(np.logaddexp(0.0, odds) - said * odds)
        doubts = ((t - threshold) / _DOUBT) ** 2 + ((log_k - math.log(STEEPNESS)) / _DOUBT_OF_STEEPNESS) ** 2
        return float(likelihood + doubts / 2)

    start = np.array([threshold, math.log(STEEPNESS)])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 5000})
    t, log_k = (float(value) for value in found.x)
    sigma = math.sqrt(float(np.linalg.inv(_curvature(loss, found.x))[0, 0]))
    return Recalibrated(t, t - _SIGMAS * sigma, t + _SIGMAS * sigma, math.exp(log_k), len(values))


def threshold_for_links(calibration: Calibration) -> float:
    """The score that `FALSE_MATCH_RATE` of the different pairs of a bundle's calibration reach; the bundle's own
    threshold where that knows no more, or was asked for by more false matches."""
    histogram = calibration.histogram
    if histogram is None or calibration.false_match_rate >= FALSE_MATCH_RATE or not any(histogram.different):
        return min(calibration.threshold, 1.0)
    low, high = histogram.low, calibration.threshold
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if histogram.shares_from(middle)[1] <= FALSE_MATCH_RATE else (middle, high)
    return min(high, 1.0)


def threshold_of_strangers(seen: Sequence[Seen], pairs: np.ndarray, scores: np.ndarray) -> tuple[float, int]:
    """Where nothing else is known: the score that 1 in 500 strangers reaches, and how many pairs of strangers say so.

    Strangers are two tracks of one camera that began 10 to 60 s apart: hardly any vehicle comes again so soon. Of
    those that were not compared it is known that they score less than those that were.

    Raises:
        ReIDError: there are fewer than 200 pairs of them.
    """
    by_camera: dict[str, list[tuple[float, int]]] = {}
    for row, one in enumerate(seen):
        if one.start is not None and one.camera:
            by_camera.setdefault(one.camera, []).append((one.start, row))
    strangers = 0
    for times in by_camera.values():
        moments = np.sort(np.array([time for time, _ in times]))
        until = np.searchsorted(moments, moments + _SOON, side="right")
        since = np.searchsorted(moments, moments + _NEAR, side="left")
        strangers += int(np.maximum(until - since, 0).sum())
    if strangers < STRANGERS:
        raise ReIDError(
            f"min_score=auto: the bundle has no calibrated threshold, and {count(strangers, 'pair')} of sightings that "
            f"are surely strangers tell too little; expected {STRANGERS}. Give min_score=<cosine similarity>, or "
            "calibrate the bundle: reid evaluate checkpoint=<bundle> data=<your pictures> store_threshold=true."
        )
    known = sorted(
        (
            float(score)
            for (one, other), score in zip(pairs.tolist(), scores.tolist(), strict=True)
            if seen[one].camera == seen[other].camera and _NEAR <= (gap_of(seen[one], seen[other]) or 0.0) <= _SOON
        ),
        reverse=True,
    )
    rank = int(FALSE_MATCH_RATE * strangers)
    if not known:
        return float(scores.min()) if len(scores) else 0.5, strangers
    return min(known[min(rank, len(known) - 1)], 1.0), strangers


def _curvature(loss: object, point: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """The second derivatives (2, 2) by differences."""
    found = np.empty((2, 2))
    for row in range(2):
        for column in range(2):
            values = []
            for ahead, aside in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                moved = point.copy()
                moved[row] += ahead * step
                moved[column] += aside * step
                values.append(loss(moved))  # type: ignore[operator]
            found[row, column] = (values[0] - values[1] - values[2] + values[3]) / (4 * step * step)
    return found
