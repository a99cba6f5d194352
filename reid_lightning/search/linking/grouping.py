"""Sightings joined to vehicles by weighed pairs: average linkage that knows what must be one, and what cannot be.

Pairs that nobody weighed count as dissimilar, so memory and time grow with the pairs given, never with all of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seam:
    """Where two groups of sightings meet: `weight` is the mean evidence between them, `joined` whether they are one
    vehicle now. Of every vehicle that was joined there is the last seam, along which it would fall apart."""

    one: tuple[int, ...]
    other: tuple[int, ...]
    weight: float
    joined: bool


@dataclass(frozen=True)
class Grouping:
    """`labels` (count,) int64: of each sighting the least one of its group; `seams`, if they were asked for."""

    labels: np.ndarray
    seams: tuple[Seam, ...] = ()


Conflict = Callable[[Sequence[int], Sequence[int]], bool]
"""Whether two groups of sightings, by number, cannot be one vehicle."""


def group(
    count: int,
    pairs: np.ndarray,
    weights: np.ndarray,
    *,
    unweighed: float,
    together: Iterable[tuple[int, int]] = (),
    conflict: Conflict = lambda one, other: False,
    with_seams: bool = False,
) -> Grouping:
    """Join what the evidence speaks for, the surest first, until nothing more is gained.

    The evidence for two groups is the mean weight over all pairs between them (average linkage; Sokal and Michener,
    1958); they are joined while it is above 0. Equal ones come in the order of their least sightings, so the outcome
    depends on nothing but what is given.

    Args:
        count: of sightings, which are called 0 to count - 1.
        pairs: (P, 2) int, each pair once.
        weights: (P,) float: the logarithm of how much likelier it is that a pair is one vehicle than that it is two.
        unweighed: the weight of all pairs that are not given, below 0.
        together: pairs that are one vehicle whatever the weights say.
        conflict: groups for which it is true are never joined, but by `together`.
        with_seams: also where groups meet that something was said of, and that might be joined.
    """
    members: dict[int, list[int]] = {number: [number] for number in range(count)}
    sums: dict[int, dict[int, tuple[float, int]]] = {number: {} for number in range(count)}
    for (one, other), weight in zip(pairs.tolist(), weights.tolist(), strict=True):
        sums[one][other] = sums[other][one] = (weight, 1)
    at = np.arange(count)

    def mean(one: int, other: int) -> float:
        total, weighed = sums[one][other]
        size = len(members[one]) * len(members[other])
        return (total + (size - weighed) * unweighed) / size

    def join(one: int, other: int) -> int:
        keep, gone = min(one, other), max(one, other)
        members[keep] = sorted(members[keep] + members.pop(gone))
        at[members[keep]] = keep
        for third, (total, weighed) in sums.pop(gone).items():
            del sums[third][gone]
            if third != keep:
                before = sums[keep].get(third, (0.0, 0))
                sums[keep][third] = sums[third][keep] = (before[0] + total, before[1] + weighed)
        return keep

    for one, other in together:
        if at[one] != at[other]:
            join(int(at[one]), int(at[other]))
    waiting = [
        (-mean(one, other), one, other)
        for one in members
        for other in sums[one]
        if one < other and mean(one, other) > 0
    ]
    heapq.heapify(waiting)
    last: dict[int, Seam] = {}
    while waiting:
        gain, one, other = heapq.heappop(waiting)
        if one not in members or other not in sums[one] or -mean(one, other) != gain:
            continue  # it has changed since
        if conflict(members[one], members[other]):
            del sums[one][other], sums[other][one]
            continue
        parts = tuple(members[one]), tuple(members[other])
        keep = join(one, other)
        last.pop(max(one, other), None)
        last[keep] = Seam(*parts, -gain, True)
        for third in sums[keep]:
            if (gain := mean(keep, third)) > 0:
                heapq.heappush(waiting, (-gain, min(keep, third), max(keep, third)))
    if not with_seams:
        return Grouping(at)
    apart = [
        Seam(tuple(members[one]), tuple(members[other]), mean(one, other), False)
        for one in members
        for other in sums[one]
        if one < other and not conflict(members[one], members[other])
    ]
    return Grouping(at, (*last.values(), *apart))
