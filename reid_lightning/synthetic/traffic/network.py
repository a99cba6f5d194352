"""Who passes which of four cameras when: vehicles that enter a network of roads anywhere, take any way and leave.

North and south are near each other, west is far from north; how long a vehicle takes varies, and some stop on the way.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from reid_lightning.synthetic.traffic.plan import (
    LANES,
    SPEEDS,
    TRAFFIC_SPLIT,
    PlannedPassage,
    TrafficPlan,
    apart,
    plan_vehicles,
)
from reid_lightning.synthetic.traffic.spec import AFTER, BEFORE, FOUR_CAMERAS, LEAD, TrafficSpec

LEGS = {
    ("north", "south"): 1.0,
    ("north", "east"): 4.0,
    ("north", "west"): 7.0,
    ("south", "east"): 2.5,
    ("south", "west"): 5.5,
    ("east", "west"): 3.0,
}
"""How long it usually takes from camera to camera, in either direction, in times of that from north to south."""
SPREAD = 0.25
"""Of the logarithm of a travel time."""
STOPS = 0.08
"""The share of legs on which a vehicle stops, and takes two to four times as long."""
PASSED = (0.15, 0.25, 0.3, 0.3)
"""The share of ways that lead past one, two, three and four cameras."""
RETURNS = 0.4
"""The share of vehicles that come again later, on another way."""
PAUSE = 3.0
"""How long a vehicle is away at least, in times of the way from north to south."""


def usual_seconds(spec: TrafficSpec, start: str, end: str) -> float:
    """How long it usually takes from one camera to another."""
    first, second = sorted((start, end), key=FOUR_CAMERAS.index)
    return LEGS[first, second] * sum(spec.travel) / 2


def plan_network(spec: TrafficSpec) -> TrafficPlan:
    """Plan the traffic of four cameras; a pure function of the spec.

    No way leads past a camera twice, but a vehicle that returns may pass it again. Every one is out of sight before the
    clips end; ways that are too long for that end at an earlier camera.
    """
    random = np.random.default_rng(np.random.SeedSequence([spec.seed, 12, TRAFFIC_SPLIT]))
    vehicles = plan_vehicles(spec, random)
    first, last, pause = LEAD + BEFORE, spec.seconds - AFTER, PAUSE * sum(spec.travel) / 2
    passages: dict[str, list[PlannedPassage]] = {camera: [] for camera in FOUR_CAMERAS}
    for vehicle in vehicles:
        ways = [_way(spec, random) for _ in range(1 + int(random.random() < RETURNS))]
        while len(ways) > 1 and sum(way[-1][1] for way in ways) + pause * len(ways) > last - first:
            ways.pop()
        ways[0] = [(camera, seconds) for camera, seconds in ways[0] if seconds <= last - first]
        free = last - first - sum(way[-1][1] for way in ways) - pause * (len(ways) - 1)
        entry = first
        for way, waits in zip(ways, np.diff(np.sort(random.uniform(0.0, free, len(ways))), prepend=0.0), strict=True):
            entry += float(waits)
            for camera, seconds in way:
                lane, speed = LANES[int(random.random() < 0.35)], float(random.uniform(*SPEEDS))
                passages[camera].append(PlannedPassage(vehicle.name, camera, entry + seconds, lane, speed))
            entry += way[-1][1] + pause
    planned = (apart(passages[camera], spec, between=0.0) for camera in FOUR_CAMERAS)
    return TrafficPlan(spec, vehicles, tuple(passage for at_camera in planned for passage in at_camera))


def _way(spec: TrafficSpec, random: np.random.Generator) -> list[tuple[str, float]]:
    """The cameras of a way, none twice, each with the seconds since the first one."""
    count = 1 + int(random.choice(len(PASSED), p=PASSED))
    cameras = [FOUR_CAMERAS[int(number)] for number in random.permutation(len(FOUR_CAMERAS))[:count]]
    way = [(cameras[0], 0.0)]
    for start, end in pairwise(cameras):
        slower = float(np.exp(random.normal(0.0, SPREAD)))
        slower *= float(random.uniform(2.0, 4.0)) if random.random() < STOPS else 1.0
        way.append((end, way[-1][1] + usual_seconds(spec, start, end) * slower))
    return way
