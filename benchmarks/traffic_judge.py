"""Registration and search on drawn traffic, judged by its ground truth.

A box belongs to the vehicle whose true box it overlaps best (IoU of at least .3); all else is counted from there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reid_lightning.search.records import Match, Sighting
from reid_lightning.synthetic.traffic import BoxTruth, TrafficTruth

LEAST_OVERLAP = 0.3
IN_VIEW = 0.5
"""A vehicle is expected to be found in pictures that show at least so much of it."""


@dataclass(frozen=True)
class Tally:
    """How many answers were given, how many of the expected things were found by right ones, and the right answers."""

    right: int
    given: int
    found: int
    expected: int

    @property
    def precision(self) -> float:
        """Right answers by answers given; 1 without any."""
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """Found things by expected ones; 1 without any."""
        return self.found / self.expected if self.expected else 1.0


@dataclass(frozen=True)
class RegistrationFigures:
    """What registration made of the traffic.

    `passages`: sightings against the passages of a vehicle before a camera; a right one belongs to a vehicle.
    `doubles`: sightings beyond the first of a passage; `false`: sightings of no vehicle. `plates`: plates read against
    the passages with a legible plate; a right one is exact. `mixed`: names in the gallery that hold more than one
    vehicle; `split`: vehicles under more than one name, beyond the first.
    """

    passages: Tally
    plates: Tally
    doubles: int
    false: int
    mixed: int
    split: int


@dataclass(frozen=True)
class SearchFigures:
    """What search found at a camera: by picture (one answer a box and picture) and by track (one answer a track)."""

    frames: Tally
    tracks: Tally


def overlap(one: Sequence[float], two: Sequence[float]) -> float:
    """Intersection over union of boxes (x1, y1, x2, y2)."""
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return shared / (areas - shared) if shared else 0.0


def vehicle_at(box: Sequence[float], truth: Iterable[BoxTruth]) -> str | None:
    """The vehicle of a picture's true boxes that `box` overlaps best, or None."""
    best = max(((overlap(box, row.box), row.vehicle) for row in truth), default=(0.0, None))
    return best[1] if best[0] >= LEAST_OVERLAP else None


def match_sightings(sightings: Sequence[Sighting], truth: TrafficTruth) -> dict[str, str | None]:
    """Each sighting's vehicle by its id: that of most of its crops; None where most show no vehicle."""
    frames = {camera.camera: truth.at(camera.camera) for camera in truth.cameras}
    return {
        sighting.id: _most(
            vehicle_at(crop.box, frames.get(sighting.camera, {}).get(crop.frame, ())) for crop in sighting.crops
        )
        for sighting in sightings
    }


def owners(sightings: Sequence[Sighting], truth: TrafficTruth) -> dict[str, str]:
    """The true vehicle behind each name in the gallery: that of most of its sightings; false names are left out."""
    found, votes = match_sightings(sightings, truth), defaultdict(list)
    for sighting in sightings:
        votes[sighting.vehicle].append(found[sighting.id])
    named = {name: _most(vehicles) for name, vehicles in votes.items()}
    return {name: vehicle for name, vehicle in named.items() if vehicle is not None}


def judge_registration(
    sightings: Sequence[Sighting], truth: TrafficTruth, *, cameras: Sequence[str] | None = None
) -> RegistrationFigures:
    """Count what registration found at some cameras, by default all."""
    names = [camera.camera for camera in truth.cameras] if cameras is None else list(cameras)
    sightings = [sighting for sighting in sightings if sighting.camera in names]
    found = match_sightings(sightings, truth)
    passages = {
        (vehicle.vehicle, passage.camera): passage.legible
        for vehicle in truth.vehicles
        for passage in vehicle.passages
        if passage.camera in names
    }
    plates = {vehicle.vehicle: vehicle.plate for vehicle in truth.vehicles}
    seen = Counter((found[s.id], s.camera) for s in sightings if found[s.id] is not None)
    read = [s for s in sightings if s.plate is not None]
    exact = [s for s in read if s.plate == plates.get(found[s.id])]
    legible = {passage for passage, readable in passages.items() if readable}
    holds: dict[str, set[str]] = defaultdict(set)
    goes_by: dict[str, set[str]] = defaultdict(set)
    for sighting in sightings:
        vehicle = found[sighting.id]
        if vehicle is not None:
            holds[sighting.vehicle].add(vehicle)
            goes_by[vehicle].add(sighting.vehicle)
    return RegistrationFigures(
        passages=Tally(seen.total(), len(sightings), len(seen), len(passages)),
        plates=Tally(len(exact), len(read), len(legible & {(found[s.id], s.camera) for s in exact}), len(legible)),
        doubles=seen.total() - len(seen),
        false=len(sightings) - seen.total(),
        mixed=sum(len(vehicles) > 1 for vehicles in holds.values()),
        split=sum(len(gallery_names) - 1 for gallery_names in goes_by.values()),
    )


def judge_search(
    matches: Sequence[Match], names: Mapping[str, str], truth: TrafficTruth, *, camera: str, wanted: str | None = None
) -> SearchFigures:
    """Judge what was found in the clip of one camera.

    Of a box's matches in a picture the best one is its answer; a track's answer is the vehicle with the largest sum of
    scores over its answers. Expected are the vehicles that are registered, in the pictures that show half of them.

    Args:
        matches: what search returned, with frame and box; those without a track count by picture only.
        names: the true vehicle behind each name in the gallery, see `owners`.
        truth: the ground truth.
        camera: whose clip was searched.
        wanted: the name in the gallery that was looked for; by default any registered vehicle.
    """
    frames = truth.at(camera)
    registered = set(names.values()) if wanted is None else {names[wanted]} if wanted in names else set()
    expected = {
        (row.frame, row.vehicle)
        for rows in frames.values()
        for row in rows
        if row.vehicle in registered and row.visible >= IN_VIEW
    }
    best: dict[tuple, Match] = {}
    for match in matches:
        key = (match.frame, match.box)
        if match.box is not None and (key not in best or match.score > best[key].score):
            best[key] = match
    right, found = 0, set()
    sums: dict[int, Counter[str]] = defaultdict(Counter)
    shown: dict[int, list[str | None]] = defaultdict(list)
    for match in best.values():
        vehicle = vehicle_at(match.box, frames.get(match.frame, ()))
        if vehicle is not None and names.get(match.vehicle) == vehicle:
            right += 1
            found.add((match.frame, vehicle))
        if match.track is not None:
            sums[match.track][match.vehicle] += match.score
            shown[match.track].append(vehicle)
    answers = [(names.get(scores.most_common(1)[0][0]), _most(shown[track])) for track, scores in sums.items()]
    right_tracks = [vehicle for answer, vehicle in answers if vehicle is not None and answer == vehicle]
    passing = {vehicle for _, vehicle in expected}
    return SearchFigures(
        frames=Tally(right, len(best), len(found & expected), len(expected)),
        tracks=Tally(len(right_tracks), len(answers), len(passing & set(right_tracks)), len(passing)),
    )


def _most(vehicles: Iterable[str | None]) -> str | None:
    """The most frequent one, of equals the first; None may win."""
    counts = Counter(vehicles)
    return counts.most_common(1)[0][0] if counts else None
