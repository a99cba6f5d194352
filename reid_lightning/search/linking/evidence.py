"""What speaks for and against two sightings being one vehicle: looks, plates and the time between two cameras.

Each is a weight of evidence (Good, 1950): the natural logarithm of how much likelier what was seen is of one vehicle
than of two. Weights add up; above 0 the two are likelier one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.matching.travel_times import TravelTimes

STEEPNESS = 40.0
"""Weight of a cosine of 1 above the threshold; chosen on drawn traffic."""
UNALIKE = -4.0
"""The least weight of looks: how a vehicle looks changes with light and view, and says no more against it than this."""
SURE_PLATE = 0.9
"""Confidence from which a plate is believed: equal ones are one vehicle, different ones are two."""

_EQUAL_PLATES = 100.0  # whatever the looks say
_STRANGERS_EQUAL = 1e-3  # vehicles whose plates are read alike
_STRANGERS_NEAR = 1e-2  # and but for one character: a fleet buys its plates together
_FASTEST = 3.0  # spreads: nobody is so much faster than usual
_DIRECT = 0.5  # of the vehicles that are seen at both cameras those that go straight from one to the other
_TOO_FAST = 1e-3
_MOST_OF_TIME = 4.0  # travel times alone join nobody
_OVERLAP = 0.5  # seconds of one camera in which two tracks are seen and are two vehicles


@dataclass(frozen=True)
class Evidence:
    """Of a pair: `looks` (None: not compared), `plates` and `travel` as weights, with the `similarity` (on the scale of
    the cosine) behind `looks` and the `seconds` between the two where both times are known."""

    looks: float | None
    plates: float
    travel: float
    similarity: float | None = None
    seconds: float | None = None

    @property
    def weight(self) -> float:
        """Of all together."""
        return (UNALIKE if self.looks is None else self.looks) + self.plates + self.travel


@dataclass(frozen=True)
class Rules:
    """How evidence is weighed.

    Args:
        threshold: the similarity from which two sightings are likelier one vehicle by their looks.
        steepness: weight of a similarity of 1 above it.
        travel_times: between cameras; None: nothing is known of them.
        span: seconds from the first to the last sighting of the gallery.

    Raises:
        ReIDError: a number is out of its range.
    """

    threshold: float
    steepness: float = STEEPNESS
    travel_times: TravelTimes | None = None
    span: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise ReIDError(f"min_score is {self.threshold}; expected a cosine similarity from -1 to 1.")
        if not 0 < self.steepness < math.inf:
            raise ReIDError(f"steepness is {self.steepness}; expected a number above 0.")

    def looks(self, similarities: np.ndarray) -> np.ndarray:
        """(P,) weights of similarities."""
        return np.maximum(self.steepness * (similarities - self.threshold), UNALIKE)

    def travel(self, one: Seen, other: Seen) -> float:
        """The weight of the time between two sightings.

        With the usual time and spread of the table, gap the time from the middle of one sighting to that of the other,
        half of the vehicles that pass both cameras go straight from one to the other, and of strangers any gap within
        the span of the gallery is as likely:

            weight = ln(0.5 lognormal(gap; ln usual, spread) span + 0.5 p),   p = 1, or 0.001 for a gap too short,

        4 at most. 0 where a time or the table's line is unknown.
        """
        usual = self._usual(one, other)
        gap = gap_of(one, other)
        if usual is None or gap is None or not self.span > 0:
            return 0.0
        seconds, spread = usual
        other_ways = _TOO_FAST if gap < seconds * math.exp(-_FASTEST * spread) else 1.0
        direct = 0.0
        if gap > 0:
            z = math.log(gap / seconds) / spread
            direct = math.exp(-z * z / 2) / (gap * spread * math.sqrt(2 * math.pi)) * self.span
        return min(_MOST_OF_TIME, math.log(_DIRECT * direct + (1 - _DIRECT) * other_ways))

    def is_impossible(self, one: Seen, other: Seen) -> bool:
        """One vehicle at two places at once: two tracks of one camera that overlap in time, or two cameras between
        which nobody is so fast by the table."""
        if one.camera == other.camera:
            return _overlap(one, other) > _OVERLAP
        usual, gap = self._usual(one, other), gap_of(one, other)
        return usual is not None and gap is not None and gap < usual[0] * math.exp(-_FASTEST * usual[1])

    def _usual(self, one: Seen, other: Seen) -> tuple[float, float] | None:
        if self.travel_times is None or one.camera == other.camera or not one.camera or not other.camera:
            return None
        first, second = (one, other) if (one.start or 0.0) <= (other.start or 0.0) else (other, one)
        pairs = self.travel_times.pairs
        found = pairs.get((first.camera, second.camera)) or pairs.get((second.camera, first.camera))
        return None if found is None or found.seconds == 0 else (found.seconds, found.spread)

    def of(self, one: Seen, other: Seen, similarity: float | None) -> Evidence:
        """All evidence of a pair; `similarity` None: they were not compared."""
        looks = None if similarity is None else float(self.looks(np.array([similarity]))[0])
        return Evidence(looks, plates(one, other), self.travel(one, other), similarity, gap_of(one, other))


def plates(one: Seen, other: Seen) -> float:
    """The weight of two plates as they were read; 0 where one was not.

    Sure and equal ones are one vehicle. Of others, with c the product of their confidences: equal ones
    ln(c / 0.001), those that differ in one character ln(0.5 (1 - c) / 0.01), others ln(1 - c), at least -4.
    """
    if one.plate is None or other.plate is None:
        return 0.0
    both = min(one.plate_confidence, 1.0) * min(other.plate_confidence, 1.0)
    if one.plate == other.plate:
        if is_sure(one) and is_sure(other):
            return _EQUAL_PLATES
        return math.log(max(both, _STRANGERS_EQUAL) / _STRANGERS_EQUAL)
    if differ_by_one(one.plate, other.plate):
        return max(UNALIKE, math.log(max(0.5 * (1 - both), 1e-9) / _STRANGERS_NEAR))
    return max(UNALIKE, math.log(max(1 - both, 1e-9)))


def is_sure(one: Seen) -> bool:
    """Whether its plate is believed."""
    return one.plate is not None and one.plate_confidence >= SURE_PLATE


def differ_by_one(one: str, other: str) -> bool:
    """One character replaced, inserted or left out."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    shorter, longer = sorted((one, other), key=len)
    same = next(
        (place for place, pair in enumerate(zip(shorter, longer, strict=False)) if pair[0] != pair[1]), len(shorter)
    )
    rest = same + (len(shorter) == len(longer))
    return shorter[rest:] == longer[same + 1 :]


def gap_of(one: Seen, other: Seen) -> float | None:
    """Seconds between the middles of two sightings; None: unknown."""
    middles = [_middle(one), _middle(other)]
    return None if None in middles else abs(middles[1] - middles[0])  # type: ignore[operator]


def _middle(one: Seen) -> float | None:
    known = [time for time in (one.start, one.end) if time is not None]
    return sum(known) / len(known) if known else None


def _overlap(one: Seen, other: Seen) -> float:
    if one.start is None or one.end is None or other.start is None or other.end is None:
        return 0.0
    return min(one.end, other.end) - max(one.start, other.start)


@dataclass
class Exclusions:
    """Which groups of sightings cannot be one vehicle: by times, by plates that are believed, by the word of a person.

    Args:
        seen: all sightings, by number.
        rules: what is impossible.
        apart: pairs of numbers of which somebody has said that they are different vehicles.
    """

    seen: Sequence[Seen]
    rules: Rules
    apart: Sequence[tuple[int, int]] = ()
    _different: Mapping[int, set[int]] = field(init=False)

    def __post_init__(self) -> None:
        self._different = {}
        for one, other in self.apart:
            self._different.setdefault(one, set()).add(other)
            self._different.setdefault(other, set()).add(one)

    def __call__(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two groups, by numbers, cannot be one."""
        return self.why(one, other) is not None

    def why(self, one: Sequence[int], other: Sequence[int]) -> str | None:
        """The reason in words; None: there is none."""
        few, many = sorted((one, other), key=len)
        theirs = set(many)
        if any(not theirs.isdisjoint(self._different.get(number, ())) for number in few):
            return "a person said that they are different"
        ours, known = (
            {self.seen[number].plate for number in some if is_sure(self.seen[number])} for some in (few, many)
        )
        if ours and known and not ours & known:
            return f"different plates: {', '.join(sorted(map(str, ours)))} and {', '.join(sorted(map(str, known)))}"
        for number in few:
            for third in many:
                if self.rules.is_impossible(self.seen[number], self.seen[third]):
                    return f"at two places at once: {self.seen[number].id} and {self.seen[third].id}"
        return None
