"""What a gallery may have held at each moment while one process wrote to it, and what is wrong with what others found.

A sighting is known by its number, and where it is by the name of its vehicle; None: nowhere.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from reid_lightning.search.records import Filter

TOLERANCE = 5e-3
"""Of scores: stores keep vectors as float16."""

Place = str | None


@dataclass(frozen=True)
class Written:
    """A change from `began` to `ended` (seconds; infinity: its writer was killed): where the sightings of `state` are
    after it. `looked`: nothing was changed, but looked up after a kill."""

    began: float
    ended: float
    state: Mapping[int, Place]
    looked: bool = False


@dataclass(frozen=True)
class Found:
    """A crop that a search gave: of sighting `number`, its crop `crop`, with a picture of it on the disk or without."""

    number: int
    crop: int
    vehicle: str
    score: float
    has_picture: bool = True


@dataclass(frozen=True)
class Answer:
    """What was found from `began` to `ended` for the vector of a crop; `sightings`: how many the gallery says it has
    (None: it was not asked); `error`: why nothing."""

    began: float
    ended: float
    query: tuple[int, int]
    top_k: int
    hits: tuple[Found, ...] = ()
    vehicle: str | None = None
    camera: str | None = None
    sightings: int | None = None
    error: str | None = None

    @property
    def where(self) -> Filter:
        """What was asked for."""
        return Filter(
            vehicles=None if self.vehicle is None else (self.vehicle,),
            cameras=None if self.camera is None else (self.camera,),
        )


class Timeline:
    """What one writer did, and its successors.

    Args:
        writes: in their order.
        vectors: (sightings, crops, dim) of length 1.
        cameras: of each sighting.
        down: when the server was not there, from and to.
    """

    def __init__(
        self,
        writes: Sequence[Written],
        vectors: np.ndarray,
        cameras: Sequence[str],
        down: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._writes, self._vectors, self._cameras, self._down = writes, vectors, cameras, down
        self._begins = [one.began for one in writes]
        self._ended = sorted((one.ended, row) for row, one in enumerate(writes) if one.ended < math.inf)

    def lost(self) -> list[str]:
        """Sightings that were not where they could be when somebody looked after a kill."""
        may: dict[int, set[Place]] = {}
        wrong = []
        for one in self._writes:
            for number, place in one.state.items():
                before = may.setdefault(number, {None})
                if one.looked and place not in before:
                    wrong.append(f"sighting {number} is in {place}, not in {_names(before)}")
                may[number] = {place} if one.ended < math.inf else before | {place}
        return wrong

    def at_the_end(self) -> dict[int, set[Place]]:
        """Where each sighting may be after all."""
        may: dict[int, set[Place]] = {}
        for one in self._writes:
            for number, place in one.state.items():
                may[number] = {place} if one.ended < math.inf else may.get(number, {None}) | {place}
        return may

    def faults(self, answers: Iterable[Answer]) -> list[str]:
        """A line for each that is wrong, of one process, in the order in which it got them."""
        may: dict[int, set[Place]] = {number: {None} for number in range(len(self._cameras))}
        done, found = 0, list[str]()
        for answer in answers:
            if answer.error is not None:
                if not any(start <= answer.ended and answer.began <= end for start, end in self._down):
                    found.append(f"error: {answer.error}")
                continue
            done = self._settle(may, done, answer.began)
            open_ones = self._overlapping(answer)
            during = {number: set(may[number]) for number in {key for one in open_ones for key in one.state}}
            for one in open_ones:
                for number, place in one.state.items():
                    during[number].add(place)
            found += self._faults(answer, {**may, **during}, moving={*during})
        return found

    def _settle(self, may: dict[int, set[Place]], done: int, until: float) -> int:
        """Take up what had ended by then; what never ended is added as soon as it has begun."""
        while done < len(self._writes):
            one = self._writes[done]
            if until < one.ended < math.inf or one.began > until:
                break
            for number, place in one.state.items():
                may[number] = {place} if one.ended < math.inf else may[number] | {place}
            done += 1
        return done

    def _overlapping(self, answer: Answer) -> list[Written]:
        last = bisect.bisect_right(self._begins, answer.ended)
        first = last
        while first > 0 and self._writes[first - 1].ended > answer.began:
            first -= 1
        return list(self._writes[first:last])

    def _faults(self, answer: Answer, may: Mapping[int, set[Place]], moving: Set[int]) -> list[str]:
        """`moving`: sightings that were being changed, which a count may take at neither place, or at both."""
        hits, wrong = answer.hits, []
        if answer.sightings is not None:
            least = sum(None not in places for number, places in may.items() if number not in moving)
            most = sum(places != {None} for places in may.values()) + len(moving)
            if not least <= answer.sightings <= most:
                wrong.append(f"count: {answer.sightings} sightings of {least} to {most}")
        counted = Counter((hit.number, hit.crop) for hit in hits)
        wrong += [f"doubled: crop {name}" for name, number in counted.items() if number > 1]
        scores = [hit.score for hit in hits]
        if any(later > before + 1e-6 for before, later in itertools.pairwise(scores)):
            wrong.append(f"order: {scores}")
        truth = self._vectors @ self._vectors[answer.query]
        for hit in hits:
            places, what = may[hit.number], f"sighting {hit.number} in {hit.vehicle}"
            if hit.vehicle not in places:
                kind = "removed" if places == {None} else "elsewhere"
                wrong.append(f"{kind}: {what}, which is in {_names(places)}")
            if answer.vehicle not in (None, hit.vehicle) or answer.camera not in (None, self._cameras[hit.number]):
                wrong.append(f"filter: {what} for {answer.where}")
            if abs(hit.score - truth[hit.number, hit.crop]) > TOLERANCE:
                wrong.append(f"score: {what} has {hit.score}, not {truth[hit.number, hit.crop]}")
            if not hit.has_picture and len(places) == 1:
                wrong.append(f"picture: {what} has none")
        worst = scores[-1] + TOLERANCE if len(hits) >= answer.top_k else -math.inf
        for number, crop in np.argwhere(truth > worst).tolist():
            places = may[number]
            is_sure = len(places) == 1 and None not in places
            fits = answer.vehicle in (None, *places) and answer.camera in (None, self._cameras[number])
            if is_sure and fits and (number, crop) not in counted:
                wrong.append(f"missing: crop {crop} of sighting {number} in {_names(places)}")
        return wrong


def _names(places: Iterable[Place]) -> str:
    return " or ".join(sorted(place or "nowhere" for place in places))
