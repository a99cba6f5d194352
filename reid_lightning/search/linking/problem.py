"""Who is to be grouped, and by what: made of what was compared, of what people said, and of how evidence is weighed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from reid_lightning.errors import ReIDError, count
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.answers import Agreement, Answer, Answers, Words, words_of
from reid_lightning.search.linking.comparisons import Comparisons
from reid_lightning.search.linking.evidence import UNALIKE, Exclusions, Rules, is_sure, plates
from reid_lightning.search.linking.grouping import Grouping, group
from reid_lightning.search.linking.thresholds import recalibrated, threshold_of_strangers
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes


@dataclass(frozen=True)
class LinkOptions:
    """How sightings are linked.

    Args:
        threshold: the similarity from which two are likelier one vehicle by their looks, such as the bundle's
            calibrated one; None: what strangers of the gallery reach, see `threshold_of_strangers`.
        use_answers: people's answers move the threshold, see `recalibrated`.
        travel_times: between cameras; None: nothing is known of them.
        use_plates: False: plates are not looked at.
        again: compare everything anew.
    """

    threshold: float | None
    use_answers: bool = True
    travel_times: TravelTimes | None = None
    use_plates: bool = True
    again: bool = False


@dataclass(frozen=True)
class Problem:
    """Who is to be grouped, and by what: sightings by number, weighed pairs, what is certain and what cannot be.

    `scores` (P,) belong to `pairs` (P, 2) that were compared. `basis` is where the threshold comes from, in words.
    """

    seen: Sequence[Seen]
    pairs: np.ndarray
    scores: np.ndarray
    rules: Rules
    together: tuple[tuple[int, int], ...] = ()
    apart: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()
    basis: str = ""

    @property
    def exclusions(self) -> Exclusions:
        """Which groups cannot be one."""
        return Exclusions(self.seen, self.rules, self.apart)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(Q, 2) pairs, those of equal plates as well, and (Q,) their weights."""
        looks = dict(zip(map(tuple, self.pairs.tolist()), self.rules.looks(self.scores).tolist(), strict=True))
        weighed: dict[tuple[int, int], float] = looks
        for pair in _equal_plates(self.seen):
            weighed.setdefault(pair, UNALIKE)
        by_time = self.rules.travel_times is not None
        for (one, other), weight in weighed.items():
            more = plates(self.seen[one], self.seen[other])
            if by_time:
                more += self.rules.travel(self.seen[one], self.seen[other])
            if more:
                weighed[one, other] = weight + more
        ordered = sorted(weighed)
        values = np.array([max(weighed[pair], UNALIKE) for pair in ordered])
        return np.array(ordered, np.int64).reshape(-1, 2), values

    def grouping(self, *, with_seams: bool = False) -> Grouping:
        """Who is one vehicle."""
        pairs, weights = self.weights()
        return group(
            len(self.seen),
            pairs,
            weights,
            unweighed=UNALIKE,
            together=self.together,
            conflict=self.exclusions,
            with_seams=with_seams,
        )

    def vehicles(self) -> list[list[Seen]]:
        """The sightings of each."""
        groups: dict[int, list[Seen]] = {}
        for one, label in zip(self.seen, self.grouping().labels.tolist(), strict=True):
            groups.setdefault(label, []).append(one)
        return list(groups.values())


def problem_of(seen: Sequence[Seen], made: Comparisons, answers: Answers, options: LinkOptions) -> Problem:
    """What is to be grouped, of sightings as they are now; what was compared of others is left out.

    Raises:
        ReIDError: no threshold is given, and there are too few strangers to tell one.
    """
    if not options.use_plates:
        seen = [replace(one, plate=None, plate_confidence=0.0) for one in seen]
    number = {one.id: row for row, one in enumerate(seen)}
    places = np.array([number.get(name, -1) for name in made.ids], np.int64)
    pairs = places[made.pairs] if len(made.ids) else made.pairs
    there = (pairs >= 0).all(axis=1)
    pairs = np.sort(pairs[there], axis=1)
    scores = made.scores[there]
    given = answers.all()
    words = words_of(given)
    rules, basis = _rules(seen, pairs, scores, words, given, options)
    together, apart = (_numbered(some, number) for some in (words.together, words.apart))
    notes = [
        f"What {one.by} said of {' and '.join(one.pairs[0])} ({one.says}) contradicts later answers, which hold."
        for one in words.overruled
    ]
    if damaged := answers.damaged:
        notes.append(f"{count(damaged, 'answer')} cannot be read and count for nothing: {answers.path}")
    kept = Agreement[int]()
    for pair in together:
        kept.join(*pair)
    for pair in apart:
        kept.part(*pair)
    together += [pair for pair in _placed(seen) if kept.join(*pair)]
    return Problem(seen, pairs, scores, rules, tuple(together), tuple(apart), tuple(notes), basis)


def _rules(
    seen: Sequence[Seen],
    pairs: np.ndarray,
    scores: np.ndarray,
    words: Words,
    answers: Sequence[Answer],
    options: LinkOptions,
) -> tuple[Rules, str]:
    """With the threshold that counts, and where it comes from."""
    times = [time for one in seen for time in (one.start, one.end) if time is not None]
    span = max(times) - min(times) if times else 0.0
    if options.threshold is None:
        threshold, strangers = threshold_of_strangers(seen, pairs, scores)
        basis = f"threshold {threshold:.2f}, which 1 in 500 of {count(strangers, 'pair')} of strangers reaches"
    else:
        threshold, basis = options.threshold, f"threshold {options.threshold:.2f}"
    rules = Rules(threshold, travel_times=options.travel_times, span=span)
    held = {*words.together, *words.apart}
    asked = [one for one in answers if one.score is not None and one.says != "unsure" and one.pairs[0] in held]
    if not asked or not options.use_answers:
        return rules, basis
    found = recalibrated(
        [one.score for one in asked if one.score is not None],
        [one.says == "same" for one in asked],
        threshold=threshold,
    )
    moved = replace(rules, threshold=min(max(found.threshold, -1.0), 1.0), steepness=found.steepness)
    return moved, f"{found.describe()}; {threshold:.2f} before"


def as_values(times: TravelTimes | None) -> dict[str, Any] | None:
    """A table of travel times as plain values, for who asks later why two were linked."""
    if times is None:
        return None
    pairs = [[*pair, usual.seconds, usual.spread] for pair, usual in sorted(times.pairs.items())]
    return {"pairs": pairs, "early": times.early, "late": times.late}


def options_of(settings: Mapping[str, Any]) -> LinkOptions:
    """The options of links that were kept. ReIDError: they are damaged."""
    try:
        times = settings["travel_times"]
        table = None
        if times is not None:
            pairs = {(str(a), str(b)): TravelTime(float(s), float(spread)) for a, b, s, spread in times["pairs"]}
            table = TravelTimes(pairs, early=float(times["early"]), late=float(times["late"]))
        threshold = settings["threshold"]
        least = None if threshold is None else float(threshold)
        return LinkOptions(least, travel_times=table, use_plates=bool(settings["use_plates"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ReIDError(
            f"The settings of the links are damaged ({error}); link again: reid link gallery=<folder>."
        ) from error


def _numbered(pairs: Iterable[tuple[str, str]], number: dict[str, int]) -> list[tuple[int, int]]:
    return [(number[one], number[other]) for one, other in pairs if one in number and other in number]


def _equal_plates(seen: Sequence[Seen]) -> list[tuple[int, int]]:
    """Neighbours in time among the sightings of each plate."""
    of_plate: dict[str, list[int]] = {}
    for row, one in enumerate(seen):
        if one.plate is not None:
            of_plate.setdefault(one.plate, []).append(row)
    found = []
    for rows in of_plate.values():
        rows.sort(key=lambda row: (not is_sure(seen[row]), seen[row].start or 0.0, row))
        found += [(min(pair), max(pair)) for pair in pairwise(rows)]
    return found


def _placed(seen: Sequence[Seen]) -> list[tuple[int, int]]:
    """What a person has put into one folder is one vehicle."""
    folders: dict[str, list[int]] = {}
    for row, one in enumerate(seen):
        folders.setdefault(one.vehicle, []).append(row)
    return [pair for rows in folders.values() if any(seen[row].placed for row in rows) for pair in pairwise(rows)]
