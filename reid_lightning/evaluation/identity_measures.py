"""How well sightings were joined to vehicles: identity measures over cameras, pairs and B-cubed.

Every measure takes two labellings of the same sightings and knows nothing of how either came about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class IdentityMeasures:
    """Shares from 0 to 1, and counts.

    `idf1`, `idp`, `idr` (Ristani et al., ECCV 2016 workshops): each true vehicle is matched with one found vehicle at
    most, so that as many sightings as possible (IDTP) are of a vehicle and its match; IDP = IDTP / sightings found,
    IDR = IDTP / sightings that there were, IDF1 their harmonic mean. `pairwise_precision` and `pairwise_recall`: of the
    pairs of sightings found to be one vehicle those that are, and the other way about. `bcubed_precision` and
    `bcubed_recall` (Bagga and Baldwin, 1998): the mean over sightings of the share of its found vehicle's sightings
    that are of its true one, and the other way about.
    """

    idf1: float
    idp: float
    idr: float
    pairwise_precision: float
    pairwise_recall: float
    bcubed_precision: float
    bcubed_recall: float
    found_vehicles: int
    true_vehicles: int
    sightings: int

    @property
    def pairwise_f1(self) -> float:
        """The harmonic mean of both."""
        return _harmonic(self.pairwise_precision, self.pairwise_recall)

    @property
    def bcubed_f1(self) -> float:
        """The harmonic mean of both."""
        return _harmonic(self.bcubed_precision, self.bcubed_recall)


def identity_measures(
    found: Sequence[Hashable], truth: Sequence[Hashable | None], *, missed: int = 0
) -> IdentityMeasures:
    """Judge found vehicles by the true ones.

    Args:
        found: of each sighting the vehicle that it was joined to.
        truth: of each sighting the vehicle that it shows; None: none at all. Such one counts as found and is never
            right, and is left out of pairs and B-cubed recall.
        missed: passages without any sighting, which nobody can have joined: they count in IDR alone.

    Raises:
        ReIDError: there is no sighting, or the two are of different lengths.
    """
    if len(found) != len(truth) or not found or missed < 0:
        raise ReIDError(
            f"{len(found)} found and {len(truth)} true vehicles of sightings came, {missed} missed; expected one of "
            "each for every sighting, one sighting at least, and no negative number."
        )
    names = [name if name is not None else ("no vehicle", row) for row, name in enumerate(truth)]
    both = Counter(zip(found, names, strict=True))
    ours, theirs = Counter(found), Counter(names)
    shown = sum(name is not None for name in truth)
    right = _matched({key: number for key, number in both.items() if not _is_nothing(key[1])})
    idp = right / len(found)
    idr = right / (shown + missed) if shown + missed else 0.0
    together, ours_pairs, true_pairs = (sum(map(_pairs, counts.values())) for counts in (both, ours, theirs))
    precision = sum(number**2 / ours[one] for (one, _), number in both.items()) / len(found)
    recall = sum(number**2 / theirs[name] for (_, name), number in both.items() if not _is_nothing(name))
    return IdentityMeasures(
        idf1=2 * right / (len(found) + shown + missed),
        idp=idp,
        idr=idr,
        pairwise_precision=together / ours_pairs if ours_pairs else 1.0,
        pairwise_recall=together / true_pairs if true_pairs else 1.0,
        bcubed_precision=precision,
        bcubed_recall=recall / shown if shown else 1.0,
        found_vehicles=len(ours),
        true_vehicles=len({name for name in truth if name is not None}),
        sightings=len(found),
    )


def _matched(both: dict[tuple[Hashable, Hashable], int]) -> int:
    """The most sightings that any one-to-one match of found and true vehicles has in common."""
    rows = {one: row for row, one in enumerate(dict.fromkeys(one for one, _ in both))}
    columns = {name: column for column, name in enumerate(dict.fromkeys(name for _, name in both))}
    counts = np.zeros((len(rows), len(columns)), np.int64)
    for (one, name), number in both.items():
        counts[rows[one], columns[name]] = number
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def _is_nothing(name: Hashable) -> bool:
    return isinstance(name, tuple) and name[:1] == ("no vehicle",)


def _pairs(number: int) -> int:
    return number * (number - 1) // 2


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
