"""Who passes which camera when, in which lane and how fast, and with which plate, before a picture is drawn.

A pure function of the spec. Vehicles are of a split of their own, so that no trained model has seen them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from reid_lightning.synthetic.fleet.look import Colour, VehicleLook, fleet_looks
from reid_lightning.synthetic.traffic.spec import AFTER, BEFORE, CAMERAS, LEAD, TrafficSpec

TRAFFIC_SPLIT = 11
"""Training vehicles are of split 0, test vehicles of 1, those that pass by of 9; see `fleet_looks`."""
LANES = (-1.65, 1.65)
"""Middles of the lanes, metres to the left of the road's own middle."""
SPEEDS = (6.0, 7.5)
"""Metres a second."""
GAP = 2.4
"""Seconds between two vehicles of a lane, so that speeds may differ and none drives into another."""
PLATE_LETTERS = "ABCEFHJKLMNPRTUWXY"
PLATE_DIGITS = "2345679"
"""Of those that readers take for one another one stays at most: not O, D, Q beside 0, I beside 1, S beside 5, G beside
6, Z beside 2, 8 beside B, V beside Y."""


@dataclass(frozen=True)
class PlannedPassage:
    """A vehicle drives past a camera: it is at the camera's target at `seconds`, `speed` in metres a second."""

    vehicle: str
    camera: str
    seconds: float
    lane: float
    speed: float


@dataclass(frozen=True)
class PlannedVehicle:
    """A vehicle with its name in the ground truth (`v01`, ...) and its plate, without a space."""

    name: str
    plate: str
    look: VehicleLook


@dataclass(frozen=True)
class TrafficPlan:
    """All vehicles and their passages, in the order of time within each camera."""

    spec: TrafficSpec
    vehicles: tuple[PlannedVehicle, ...]
    passages: tuple[PlannedPassage, ...]

    def at(self, camera: str) -> tuple[PlannedPassage, ...]:
        """The passages of one camera."""
        return tuple(passage for passage in self.passages if passage.camera == camera)


def plan_traffic(spec: TrafficSpec) -> TrafficPlan:
    """Plan the traffic of two cameras; a pure function of the spec. That of four is `network.plan_network`.

    About every fourth vehicle passes one camera only: a stranger to the other one, and where there are look-alikes one
    of them. From time to time one overtakes another before a camera.
    """
    random = np.random.default_rng(np.random.SeedSequence([spec.seed, 6, TRAFFIC_SPLIT]))
    vehicles = plan_vehicles(spec, random)
    names = [vehicle.name for vehicle in vehicles]
    alone = min(max(1, spec.vehicles // 4), spec.vehicles - 1)
    only = {names[(4 * i + 1) % spec.vehicles]: CAMERAS[(i + 1) % 2] for i in range(alone)}
    order = [names[int(i)] for i in random.permutation(spec.vehicles)]
    north: list[PlannedPassage] = []
    seconds = LEAD + BEFORE
    for number, name in enumerate(order):
        overtakes = number % 4 == 2
        speed, lane = random.uniform(*SPEEDS), LANES[int(random.random() < 0.3)]
        if overtakes:
            speed, lane = speed * 1.25, LANES[0] + LANES[1] - north[-1].lane
        share = (0.3 if overtakes else 1.0) * random.uniform(0.9, 1.1)
        if number:
            seconds += spec.headway * share * (spec.vehicles - 1) / (spec.vehicles - 1 - 0.7 * (spec.vehicles > 2))
        north.append(PlannedPassage(name, CAMERAS[0], float(seconds), lane, float(speed)))
    south = []
    for passage in north:
        travel = random.uniform(*spec.travel)
        speed, lane = random.uniform(*SPEEDS), LANES[int(random.random() < 0.4)]
        south.append(PlannedPassage(passage.vehicle, CAMERAS[1], float(passage.seconds + travel), lane, float(speed)))
    planned = (apart(north, spec, between=0.0), apart(south, spec, between=0.5 * spec.headway))
    kept = [p for passages in planned for p in passages if only.get(p.vehicle, p.camera) == p.camera]
    return TrafficPlan(spec, vehicles, tuple(kept))


def plan_vehicles(spec: TrafficSpec, random: np.random.Generator) -> tuple[PlannedVehicle, ...]:
    """Who passes by, with plates."""
    names = [f"v{number + 1:02d}" for number in range(spec.vehicles)]
    looks, plates = traffic_looks(spec), _plates(random, spec.vehicles)
    return tuple(PlannedVehicle(*parts) for parts in zip(names, plates, looks, strict=True))


def traffic_looks(spec: TrafficSpec) -> list[VehicleLook]:
    """The looks of the vehicles, the largest group of look-alikes first.

    Coaches, which are larger than the picture, are left out.
    """
    looks = fleet_looks(spec.seed, TRAFFIC_SPLIT, list(range(4 * spec.vehicles + 8))).values()
    groups: dict[tuple[str, Colour], list[VehicleLook]] = {}
    for look in looks:
        if look.model.type != "bus":
            groups.setdefault((look.model.name, look.paint), []).append(look)
    ordered = list(groups.values())
    largest = max(ordered, key=len)
    ordered.remove(largest)
    return [look for group in (largest, *ordered) for look in group][: spec.vehicles]


def _plates(random: np.random.Generator, count: int) -> list[str]:
    """Distinct plates of two letters, two digits and three letters."""
    plates: dict[str, None] = {}
    while len(plates) < count:
        letters = [PLATE_LETTERS[int(i)] for i in random.integers(len(PLATE_LETTERS), size=5)]
        digits = [PLATE_DIGITS[int(i)] for i in random.integers(len(PLATE_DIGITS), size=2)]
        plates["".join([*letters[:2], *digits, *letters[2:]])] = None
    return list(plates)


def apart(passages: Iterable[PlannedPassage], spec: TrafficSpec, *, between: float) -> list[PlannedPassage]:
    """Keep GAP between the vehicles of a lane and `between` any two: later ones change the lane or wait.

    None waits beyond the clip's end; there vehicles come earlier instead.
    """
    free, abreast = dict.fromkeys(LANES, 0.0), 0.0
    ordered = []
    for passage in sorted(passages, key=lambda passage: passage.seconds):
        other = LANES[0] + LANES[1] - passage.lane
        lane = passage.lane if free[passage.lane] <= max(free[other], passage.seconds) else other
        seconds = max(passage.seconds, free[lane], abreast)
        abreast = seconds + between
        free[lane] = seconds + GAP
        ordered.append(dataclasses.replace(passage, seconds=seconds, lane=lane))
    taken = dict.fromkeys(LANES, spec.seconds - AFTER)
    for number, passage in reversed(list(enumerate(ordered))):
        seconds = min(passage.seconds, taken[passage.lane])
        taken[passage.lane] = seconds - GAP
        ordered[number] = dataclasses.replace(passage, seconds=seconds)
    return ordered
