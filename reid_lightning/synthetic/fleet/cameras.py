"""The cameras of a fleet: where each hangs, what it looks at, its light and the faults of its picture.

All that a camera adds is the same for every vehicle it sees, so that nothing of it tells identities apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUND = 384
"""Pixels on a side of a camera's ground texture, which covers GROUND_METRES and repeats."""
GROUND_METRES = 24.0


@dataclass(frozen=True)
class Camera:
    """One fixed camera; angles in radians, lengths in metres, colours linear.

    `yaw` is the road's direction seen from the camera (0: vehicles drive away from it), `spread` how much vehicles
    turn, `opposite` the share that drives the other way. `ground` is (GROUND, GROUND, 3) linear colour, rows along the
    road; `horizon` is (64,) how high houses and trees stand around, as a
    part of the way to the zenith.
    """

    height: float
    distance: tuple[float, float]
    yaw: float
    spread: float
    opposite: float
    sun: np.ndarray
    sunlight: np.ndarray
    skylight: np.ndarray
    cast: np.ndarray
    exposure: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: tuple[int, int]
    ground: np.ndarray
    horizon: np.ndarray
    fence: bool
    foliage: float
    shadow: float


def build_camera(seed: int, number: int) -> Camera:
    """Build camera `number` (1-based) of a fleet; a pure function of its arguments."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 4, number]))
    # Views are dealt out in turn, so that any few cameras see front, rear and both sides.
    turn = (0.62, 2.45, -0.5, 3.6, 0.2, 2.9, -0.95, 4.05, 1.2)[number % 9]
    cloudy = random.random() < 0.45
    elevation = random.uniform(0.5, 1.2)
    azimuth = random.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    warmth = random.normal(0, 0.09)
    cast = np.exp(np.array([warmth, random.normal(0, 0.05), -warmth + random.normal(0, 0.05)]))
    return Camera(
        height=float(random.uniform(5.5, 8.0)),
        distance=(float(random.uniform(9, 11)), float(random.uniform(14, 19))),
        yaw=float(turn + random.normal(0, 0.12)),
        spread=float(random.uniform(0.1, 0.28)),
        opposite=float(random.uniform(0, 0.25)),
        sun=sun,
        sunlight=np.array([1.0, 0.96, 0.88]) * (0.35 if cloudy else 1.25),
        skylight=np.array([0.92, 0.97, 1.05]) * (0.85 if cloudy else 0.45),
        cast=cast / cast.mean(),
        exposure=float(np.exp(random.normal(0.05, 0.17))),
        contrast=float(random.uniform(0.82, 1.15)),
        saturation=float(random.uniform(0.7, 1.1)),
        blur=float(random.uniform(0.0, 0.7)),
        noise=float(random.uniform(1.0, 4.5)),
        quality=(int(random.integers(45, 65)), int(random.integers(75, 92))),
        ground=_ground(random),
        horizon=np.repeat(random.uniform(0.04, 0.5, 16), 4).astype(np.float32),
        fence=bool(random.random() < 0.3),
        foliage=float(random.uniform(0, 0.1)),
        shadow=0.35 if cloudy else 0.75,
    )


def _ground(random: np.random.Generator) -> np.ndarray:
    """Asphalt with lanes, wear and patches between two verges; the vehicle's lane runs down the middle."""
    scale = GROUND / GROUND_METRES
    tone = random.uniform(0.06, 0.26)
    base = np.ones((GROUND, GROUND, 3)) * tone * (1 + random.normal(0, 0.04, 3))
    base *= 1 + 0.25 * (_cloud(random, 6) - 0.5)[..., None] + 0.30 * (_cloud(random, 48) - 0.5)[..., None]
    lateral = (np.arange(GROUND) - GROUND / 2) / scale
    along = np.arange(GROUND) / scale
    lane = random.uniform(3.2, 3.8)
    left, right = -lane * random.choice((0.5, 1.5, 2.5)), lane * random.choice((0.5, 1.5))
    paint = (0.62, 0.62, 0.60) if random.random() < 0.7 else (0.60, 0.46, 0.10)
    worn = 0.55 + 0.45 * _cloud(random, 40)
    for place in np.arange(-3.5, 4.5) * lane:
        if left - 0.1 <= place <= right + 0.1:
            stripe = np.abs(lateral - place) < random.uniform(0.07, 0.12)
            solid = abs(place - left) < 0.2 or abs(place - right) < 0.2 or random.random() < 0.2
            dashes = np.ones(GROUND, bool) if solid else (along % 6.0) < 2.6
            mask = (stripe[None, :] & dashes[:, None]) * worn
            base += mask[..., None] * (np.array(paint) - base)
    for _ in range(int(random.integers(2, 7))):
        x, y = random.integers(0, GROUND, 2)
        w, h = random.integers(8, 70, 2)
        base[x : x + w, y : y + h] *= random.uniform(0.65, 1.3)
    if random.random() < 0.35:
        zebra = ((lateral % 1.2) < 0.55)[None, :] & ((along > 3) & (along < 6.5))[:, None]
        base += (zebra * worn)[..., None] * (0.55 - base)
    verges = ((0.05, 0.11, 0.03), (0.30, 0.27, 0.24), (0.34, 0.20, 0.15), (0.16, 0.13, 0.09))
    for inside, verge in ((lateral < left - 0.5, random.integers(4)), (lateral > right + 0.5, random.integers(4))):
        surface = np.array(verges[verge]) * (0.5 + _cloud(random, 96 if verge == 0 else 24))[..., None]
        if verge in (1, 2):
            joints = (along % 0.8 < 0.07)[:, None] | (lateral % 0.8 < 0.07)[None, :]
            surface = surface * np.where(joints, 0.6, 1.0)[..., None]
        base[:, inside] = surface[:, inside]
    for edge in (left - 0.42, right + 0.42):
        base[:, np.abs(lateral - edge) < 0.14] = random.uniform(0.25, 0.5)
    return np.clip(base, 0.01, 1.0).astype(np.float32)


def _cloud(random: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise between 0 and 1 with `cells` cells a side, (GROUND, GROUND), which repeats seamlessly."""
    grid = random.random((cells, cells))
    place = np.arange(GROUND) / GROUND * cells
    cell = place.astype(int)
    part = place - cell
    following = (cell + 1) % cells
    rows = grid[cell] * (1 - part)[:, None] + grid[following] * part[:, None]
    return rows[:, cell] * (1 - part) + rows[:, following] * part
