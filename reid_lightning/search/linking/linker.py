"""Sightings of all cameras joined to vehicles: who is new is compared, what was said is heard, all is grouped.

Nothing of the gallery is changed: what comes out is a layer beside it (`links.py`), made anew each time from what was
compared (`comparisons.py`), so that the outcome does not depend on when who was linked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from reid_lightning.atomic import locked
from reid_lightning.errors import ReIDError, count
from reid_lightning.search.gallery import VectorStore
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sighting_list import Seen, all_seen
from reid_lightning.search.linking import comparisons, links
from reid_lightning.search.linking.answers import FOLDER, Agreement, Answer, Answers, Words, words_of
from reid_lightning.search.linking.comparisons import Comparisons
from reid_lightning.search.linking.evidence import UNALIKE, Exclusions, Rules, is_sure, plates
from reid_lightning.search.linking.grouping import Grouping, group
from reid_lightning.search.linking.links import Links
from reid_lightning.search.linking.thresholds import recalibrated, threshold_of_strangers
from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.matching.travel_times import TravelTime, TravelTimes
from reid_lightning.search.records import OnProgress, unseen
from reid_lightning.search.stores.base import again as begun_again

LEAST, _BELOW = 0.4, 0.25  # similarity by the mean: who is less, or so much less than the threshold, is not compared


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


@dataclass(frozen=True)
class Linked:
    """What `link` found; `compared` sightings were new, `without_vectors` have no embedding yet."""

    links: Links
    problem: Problem
    compared: int
    without_vectors: int


def link(
    gallery: GalleryReader, store: VectorStore, options: LinkOptions, *, on_progress: OnProgress = unseen
) -> Linked:
    """Join the sightings of a gallery to vehicles, and keep that beside it.

    Who is new since the last time is compared; what was compared before is not, unless the model is another one or the
    gallery has doubled. A killed process leaves what was there before.

    Raises:
        ReIDError: the gallery has no sighting with a vector, another process links it, or the disk is full.
    """
    folder = gallery.root / FOLDER
    if folder.is_symlink():
        raise ReIDError(f"{folder} is a link, and links in a gallery are not followed. Remove it.")
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder / ".link.lock"):
            seen = all_seen(gallery.locations.index)
            made, new = _compared(gallery.root, store, seen, options, on_progress)
            problem = problem_of(seen, made, Answers(gallery.root), options)
            found = Links(
                links.named(problem.vehicles()),
                problem.rules.threshold,
                made.model,
                round(time.time(), 3),
                {
                    "basis": problem.basis,
                    "steepness": round(problem.rules.steepness, 2),
                    "travel_times": _as_values(options.travel_times),
                    "use_plates": options.use_plates,
                    "threshold": options.threshold,
                },
                problem.notes,
            )
            comparisons.keep(gallery.root, made)
            links.keep(gallery.root, found)
    except OSError as error:
        raise ReIDError(
            f"The links cannot be kept in {folder}: {error.strerror or error}. What was linked before is as it was; "
            "make room, and link again."
        ) from error
    return Linked(found, problem, new, len(seen) - len(made.ids))


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


def _as_values(times: TravelTimes | None) -> dict[str, Any] | None:
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


def linked_before(gallery: GalleryReader) -> tuple[Links, Problem]:
    """What was linked last, and by what, with the words that people have said since. Nothing is compared.

    Raises:
        ReIDError: nothing was linked yet, or what was is damaged.
    """
    found = links.read(gallery.root)
    made = comparisons.read(gallery.root)
    if made is None:
        raise ReIDError(
            f"What was compared in {gallery.root} is gone or damaged; link again: reid link gallery=<folder>."
        )
    return found, problem_of(all_seen(gallery.locations.index), made, Answers(gallery.root), options_of(found.settings))


def _compared(
    root: Path, store: VectorStore, seen: Sequence[Seen], options: LinkOptions, on_progress: OnProgress
) -> tuple[Comparisons, int]:
    cameras = {one.id: one.camera for one in seen}
    vectors = begun_again(lambda: SightingVectors(store.scan(), wanted=cameras, dim=store.dim, folder=root / FOLDER))
    if not vectors.ids:
        raise ReIDError(
            f"No sighting of {root} has a vector; embed them first: reid gallery sync gallery=<folder> bundle=<folder>."
        )
    return comparisons.brought_up_to_date(
        None if options.again else comparisons.read(root),
        vectors,
        [cameras[name] for name in vectors.ids],
        model=store.fingerprint,
        least=LEAST if options.threshold is None else min(options.threshold - _BELOW, LEAST),
        on_progress=on_progress,
    )


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
