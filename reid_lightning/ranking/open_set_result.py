"""What an open-set evaluation found, and the threshold a search takes from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from reid_lightning.errors import ReIDError

_FEW_BINS = 64  # of the histogram that a bundle carries
_MOST_BINS = 1024  # of one that is read
_TRUSTED = 10  # false matches that an asked rate must allow for its threshold to rest on more than a few odd pairs


@dataclass(frozen=True)
class MatchPoint:
    """A threshold on single pairs, chosen for a rate of false matches. All rates are shares in [0, 1]."""

    asked_rate: float
    threshold: float
    false_match_rate: float
    """Share of different-vehicle pairs that match: at most `asked_rate`."""
    true_match_rate: float
    """Share of same-vehicle pairs that match."""
    false_matches: int
    queries_with_false_match: float
    """Share of all queries with a false match anywhere in this gallery; grows with the gallery."""


@dataclass(frozen=True)
class IdentificationPoint:
    """A threshold on the best answer of a whole search, chosen for a rate of false alarms (DIR at FAR)."""

    asked_rate: float
    threshold: float
    false_alarm_rate: float
    """Share of searches for an absent vehicle whose best answer matches: at most `asked_rate`."""
    detection_rate: float
    """Share of the queries with a right answer whose first answer is right and matches."""
    false_alarms: int


@dataclass(frozen=True)
class RocCurve:
    """Points of the ROC from high similarity to low, (points,) float64, at most 512. Rates are exact, thresholds to
    rounding."""

    threshold: Tensor
    false_match_rate: Tensor
    true_match_rate: Tensor


@dataclass(frozen=True)
class ScoreHistogram:
    """Counts of pairs, `same` and `different` (bins,) int64, between common `edges` (bins + 1,) float64.

    128 bins from -1 to 1 for cosine similarities, at most 129 over the distances that there are; their step is a power
    of two. Scores within rounding of an edge may be counted on either side.
    """

    edges: Tensor
    same: Tensor
    different: Tensor

    def compact(self, bins: int = _FEW_BINS) -> CompactHistogram:
        """The same pairs in at most `bins` bins: without the empty ones at both ends, neighbours together."""
        filled = (self.same + self.different).nonzero().flatten().tolist()
        first, last = (filled[0], filled[-1]) if filled else (0, 0)
        width = 1
        while last // width - first // width >= bins:
            width *= 2
        starts = range(first // width * width, last + 1, width)
        step = float(self.edges[1] - self.edges[0]) * width
        low = float(self.edges[starts[0]])
        same, different = (
            tuple(int(counts[start : start + width].sum()) for start in starts)
            for counts in (self.same, self.different)
        )
        return CompactHistogram(low, low + step * len(starts), same, different)


@dataclass(frozen=True)
class CompactHistogram:
    """Counts of same-vehicle and of different-vehicle pairs in equal bins from `low` to `high`, as plain numbers.

    Raises:
        ReIDError: what was read is no such thing.
    """

    low: float
    high: float
    same: tuple[int, ...]
    different: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("same", "different"):
            counts = getattr(self, name)
            if not isinstance(counts, list | tuple) or not 1 <= len(counts) <= _MOST_BINS or not _are_counts(counts):
                raise ReIDError(f"{name} of a histogram is no list of 1 to {_MOST_BINS:,} counts, which was expected.")
            object.__setattr__(self, name, tuple(counts))
        limits = self.low, self.high
        if (
            not all(isinstance(limit, float | int) and abs(limit) < 1e300 for limit in limits)
            or not limits[0] < limits[1]
        ):
            raise ReIDError(f"a histogram goes from {self.low!r} to {self.high!r}; expected two numbers, ascending.")
        if len(self.same) != len(self.different):
            raise ReIDError(
                f"a histogram has {len(self.same)} bins of same pairs and {len(self.different)} of different ones; "
                "expected equally many."
            )

    @property
    def step(self) -> float:
        """Width of a bin."""
        return (self.high - self.low) / len(self.same)

    def shares_from(self, score: float) -> tuple[float, float]:
        """Shares of the same-vehicle and of the different-vehicle pairs that score `score` or more, as if the scores of
        a bin were spread evenly over it; 0 where there are no such pairs."""
        place = (score - self.low) / self.step
        above = [min(max(number + 1 - place, 0.0), 1.0) for number in range(len(self.same))]
        same, different = (
            sum(count * share for count, share in zip(counts, above, strict=True)) / max(sum(counts), 1)
            for counts in (self.same, self.different)
        )
        return same, different


def _are_counts(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)


@dataclass(frozen=True)
class Calibration:
    """The threshold that a search should use, and what it was measured on."""

    threshold: float
    similarity: bool
    """True: a pair matches at cosine similarity >= threshold. False: at distance <= threshold."""
    false_match_rate: float
    """As asked for."""
    measured_false_match_rate: float
    true_match_rate: float
    queries_with_false_match: float
    same_pairs: int
    different_pairs: int
    queries: int
    gallery: int
    metric: str
    junk: str
    protocol: str
    warning: str = ""
    """Why the threshold is not to be trusted; empty where it is."""
    histogram: CompactHistogram | None = None
    """How the pairs score that were measured; None in bundles that were written before there was one."""

    def __post_init__(self) -> None:
        if isinstance(self.histogram, Mapping):
            object.__setattr__(self, "histogram", CompactHistogram(**self.histogram))

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML; `Calibration(**values)` reads them back."""
        values = asdict(self)
        if self.histogram is not None:
            for name in ("same", "different"):
                values["histogram"][name] = list(values["histogram"][name])
        return values


@dataclass(frozen=True)
class OpenSetResult:
    """How well scores tell same vehicles from different ones, and what was compared. Rates are shares in [0, 1].

    Thresholds, curve and histogram are cosine similarities where `similarity` is true, which match from the threshold
    upwards, else distances, which match from it downwards.
    """

    match_points: tuple[MatchPoint, ...]
    identification_points: tuple[IdentificationPoint, ...]
    false_alarm_source: str
    """Whose searches count as searches for an absent vehicle; `false_alarm_queries` says how many they are."""
    false_alarm_queries: int
    auc: float
    """Probability that a same pair scores higher than a different one, ties counting half."""
    auc_error: float
    """How far `auc` can be off: it takes scores that are very close for ties. Points and EER are exact."""
    eer: float
    """Mean of false match rate and false non-match rate at `eer_threshold`, where they are closest."""
    eer_threshold: float
    curve: RocCurve
    histogram: ScoreHistogram
    same_pairs: int
    different_pairs: int
    queries: int
    queries_without_match: int
    gallery: int
    metric: str
    similarity: bool
    junk: str
    protocol: str

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML, curve and histogram included."""
        values = asdict(self) | {
            "match_when": "score >= threshold" if self.similarity else "distance <= threshold",
            "curve": {name: values.tolist() for name, values in vars(self.curve).items()},
            "histogram": {name: values.tolist() for name, values in vars(self.histogram).items()},
        }
        for name in ("match_points", "identification_points"):
            values[name] = list(values[name])
        return values

    def describe(self) -> str:
        """What was compared, in one line."""
        return (
            f"{self.protocol}, {self.metric}, junk: {self.junk}; {self.same_pairs:,} same-vehicle and "
            f"{self.different_pairs:,} different-vehicle pairs; false alarms: {self.false_alarm_queries:,} searches "
            f"({self.false_alarm_source})"
        )


def calibrate_threshold(result: OpenSetResult, *, false_match_rate: float) -> Calibration:
    """The threshold at which a share `false_match_rate` of different-vehicle pairs match, for a search to use.

    A search that compares with n pictures shows about n times that share of wrong ones. It can score a pair within 1e-6
    of what the evaluation did, because matrix products of other sizes round otherwise.

    Args:
        false_match_rate: one of the rates that the evaluation was asked for.
    """
    point = next((point for point in result.match_points if point.asked_rate == false_match_rate), None)
    if point is None:
        rates = ", ".join(f"{point.asked_rate:g}" for point in result.match_points)
        raise ReIDError(f"false_match_rate is {false_match_rate:g}; the evaluation was asked for {rates}.")
    allowed = false_match_rate * result.different_pairs
    warning = ""
    if allowed < _TRUSTED:
        warning = (
            f"{result.different_pairs:,} different-vehicle pairs are too few for a false match rate of "
            f"{false_match_rate:g}: it allows {allowed:.2g} false matches, and a threshold to trust takes {_TRUSTED}. "
            f"Evaluate on more pictures, or ask for {_TRUSTED / result.different_pairs:.1g} or more."
        )
    return Calibration(
        threshold=point.threshold,
        similarity=result.similarity,
        false_match_rate=false_match_rate,
        measured_false_match_rate=point.false_match_rate,
        true_match_rate=point.true_match_rate,
        queries_with_false_match=point.queries_with_false_match,
        same_pairs=result.same_pairs,
        different_pairs=result.different_pairs,
        queries=result.queries,
        gallery=result.gallery,
        metric=result.metric,
        junk=result.junk,
        protocol=result.protocol,
        warning=warning,
        histogram=result.histogram.compact(),
    )
