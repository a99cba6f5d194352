"""Who passes which camera when: the whole data set as names, before a single picture is drawn.

A pure function of the spec, so that counts, tracks and the protocol's index rows can be checked without drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid_lightning.synthetic.fleet.spec import FleetSpec

FRAMES_PER_SECOND = 25
TRAIN, TEST = 0, 1


@dataclass(frozen=True, slots=True)
class PlannedTrack:
    """One pass of one vehicle before one camera; `frames` ascend, `detections` are the last number of the name."""

    split: int
    identity: int
    camera: int
    number: int
    frames: tuple[int, ...]
    detections: tuple[int, ...]

    @property
    def images(self) -> tuple[str, ...]:
        """File names in the order of time."""
        pairs = zip(self.frames, self.detections, strict=True)
        return tuple(f"{self.identity:04d}_c{self.camera:03d}_{frame:08d}_{n}.jpg" for frame, n in pairs)

    @property
    def name(self) -> str:
        """`<id>_<camera>_t<n>` as in test_track.txt."""
        return f"{self.identity:04d}_c{self.camera:03d}_t{self.number:04d}"


@dataclass(frozen=True)
class FleetPlan:
    """All tracks of both splits, the query names, and the metres along the road from camera to camera."""

    spec: FleetSpec
    tracks: tuple[PlannedTrack, ...]
    query: tuple[str, ...]
    camera_places: tuple[float, ...]

    def images(self, split: int) -> list[str]:
        """Sorted picture names of a split."""
        return sorted(name for track in self.tracks if track.split == split for name in track.images)

    def identities(self, split: int) -> list[int]:
        """Sorted identities of a split."""
        return sorted({track.identity for track in self.tracks if track.split == split})

    def index_rows(self) -> Iterator[tuple[list[int], list[int]]]:
        """For every query the 1-based rows of the test list that are right (gt) and junk (jk, itself included)."""
        rows: dict[str, list[int]] = {}
        names = self.images(TEST)
        for row, name in enumerate(names, start=1):
            rows.setdefault(name[:4], []).append(row)
        for query in self.query:
            mine = rows[query[:4]]
            yield (
                [row for row in mine if names[row - 1][:9] != query[:9]],
                [row for row in mine if names[row - 1][:9] == query[:9]],
            )


def plan_fleet(spec: FleetSpec) -> FleetPlan:
    """Plan a fleet; the same spec gives the same plan on every machine."""
    random = np.random.default_rng(np.random.SeedSequence([spec.seed, 1]))
    numbers = random.permutation(spec.train_identities + spec.test_identities) + 1
    places = np.cumsum(random.uniform(20, 160, size=spec.cameras))
    tracks = _plan_split(spec, TRAIN, sorted(numbers[: spec.train_identities].tolist()), places, random)
    tests = _plan_split(spec, TEST, sorted(numbers[spec.train_identities :].tolist()), places, random)
    firsts: dict[tuple[int, int], list[PlannedTrack]] = {}
    for track in tests:
        firsts.setdefault((track.identity, track.camera), []).append(track)
    query = []
    for passes in firsts.values():
        names = [name for track in passes for name in track.images]
        query.append(names[int(random.integers(len(names)))])
    return FleetPlan(spec, tuple(tracks + tests), tuple(sorted(query)), tuple(places.round(-1).tolist()))


def _plan_split(
    spec: FleetSpec, split: int, identities: list[int], places: np.ndarray, random: np.random.Generator
) -> list[PlannedTrack]:
    """Deal cameras, passes and pictures to the identities of one split; the totals are met exactly."""
    pairs_total = spec.queries if split == TEST else spec.train_pairs
    images_total = spec.test_images if split == TEST else spec.train_images
    cameras_of = _deal(random, pairs_total, len(identities), low=2, high=spec.cameras)
    pairs = [
        (identity, int(camera) + 1)
        for identity, count in zip(identities, cameras_of, strict=True)
        for camera in np.sort(random.permutation(spec.cameras)[:count])
    ]
    passes = np.ones(len(pairs), dtype=int)
    if split == TEST:
        passes[random.permutation(len(pairs))[: spec.test_tracks - spec.queries]] = 2
    counts = _deal(random, images_total, int(passes.sum()), low=2, high=1 + 3 * -(-images_total // int(passes.sum())))
    entry = {identity: int(random.integers(1_000, 80_000)) for identity in identities}
    speed = {identity: float(random.uniform(4, 14)) for identity in identities}
    tracks, taken = [], 0
    for (identity, camera), times in zip(pairs, passes, strict=True):
        start = entry[identity] + int(places[camera - 1] / speed[identity] * FRAMES_PER_SECOND)
        for again in range(times):
            start += again * int(random.integers(400, 4_000))
            steps = random.integers(1, 4, size=counts[taken]) * 5
            frames = tuple(int(frame) for frame in start + np.cumsum(steps))
            detections = tuple(int(n) for n in random.choice(4, size=counts[taken], p=(0.9, 0.085, 0.012, 0.003)))
            tracks.append(PlannedTrack(split, identity, camera, 0, frames, detections))
            start, taken = frames[-1], taken + 1
    return _number_by_time(tracks)


def _deal(random: np.random.Generator, total: int, hands: int, *, low: int, high: int) -> list[int]:
    """Split `total` into `hands` whole numbers between `low` and `high`; uneven, as real counts are."""
    counts = np.full(hands, low)
    weights = random.gamma(2.0, size=hands) + 0.1
    left = total - low * hands
    while left > 0:
        open_hands = np.flatnonzero(counts < high)
        share = weights[open_hands] / weights[open_hands].sum()
        extra = np.minimum(np.floor(share * left).astype(int), high - counts[open_hands])
        if extra.sum() == 0:
            extra[random.permutation(len(open_hands))[:left]] = 1
        counts[open_hands] += extra
        left = total - int(counts.sum())
    return counts.tolist()


def _number_by_time(tracks: list[PlannedTrack]) -> list[PlannedTrack]:
    """Number the tracks of each camera in the order in which they begin, as VeRi's track names do."""
    seen: dict[int, int] = {}
    number: dict[int, int] = {}
    for position in sorted(range(len(tracks)), key=lambda i: (tracks[i].frames[0], tracks[i].identity)):
        camera = tracks[position].camera
        number[position] = seen[camera] = seen.get(camera, 0) + 1
    return [
        PlannedTrack(track.split, track.identity, track.camera, number[i], track.frames, track.detections)
        for i, track in enumerate(tracks)
    ]
