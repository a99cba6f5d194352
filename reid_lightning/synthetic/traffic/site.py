"""The fixed cameras: where they hang, what light they see in, and the empty road before them.

The road runs along x and vehicles come towards the cameras, to smaller x. `north` hangs above the road in the sun and
reads plates; `south` looks across it from the other side under clouds, from farther away; `east` from this side into a
low, warm sun; `west` from high above in the blue of the evening, with the noise of little light.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import ImageFilter

from reid_lightning.synthetic.fleet.cameras import Camera, build_camera
from reid_lightning.synthetic.fleet.picture import develop
from reid_lightning.synthetic.fleet.scene import View, look_at
from reid_lightning.synthetic.traffic.spec import FOUR_CAMERAS, TrafficSpec

HEADING = np.pi
"""Where vehicles head, radians from x."""
ROAD = 4.3
"""Metres from the middle of the road to the kerb."""
_FINE = 2


@dataclass(frozen=True)
class _Place:
    """Metres, radians; `focal` in widths of the picture; light and faults as in `fleet.cameras.Camera`."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    focal: float
    sun: tuple[float, float]
    sunlight: float
    skylight: float
    cast: tuple[float, float, float]
    exposure: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    shadow: float


_PLACES = {
    "north": _Place(
        (0.0, 2.6, 6.0), (19.0, 0.1, 0.5), 2.25, (2.5, 0.75), 1.1, 0.5, (1.04, 1.0, 0.96),
        exposure=1.0, contrast=1.05, saturation=1.0, blur=0.45, noise=1.3, shadow=0.7,
    ),
    "south": _Place(
        (0.0, -8.5, 5.0), (17.0, 0.2, 0.6), 1.9, (4.2, 0.9), 0.3, 0.8, (0.97, 1.0, 1.04),
        exposure=1.1, contrast=0.95, saturation=0.85, blur=0.6, noise=1.9, shadow=0.3,
    ),
    "east": _Place(
        (0.0, 8.0, 5.5), (17.5, -0.2, 0.6), 1.85, (1.2, 0.45), 0.95, 0.4, (1.10, 0.99, 0.90),
        exposure=0.95, contrast=1.1, saturation=0.95, blur=0.55, noise=1.7, shadow=0.75,
    ),
    "west": _Place(
        (0.0, -3.0, 9.0), (18.5, 0.0, 0.5), 2.0, (5.4, 0.6), 0.2, 0.7, (0.93, 0.99, 1.09),
        exposure=0.85, contrast=0.9, saturation=0.75, blur=0.75, noise=2.8, shadow=0.35,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A camera in its place: the view of the whole picture, light and faults, and where vehicles count as passing.

    `middle` is the x of the target in metres; `empty` is (height, width, 3) float32, the road in linear light.
    """

    name: str
    view: View
    camera: Camera
    middle: float
    size: tuple[int, int]
    empty: np.ndarray

    def picture(self, linear: np.ndarray) -> np.ndarray:
        """What the camera makes of linear light, but for its noise: (H, W, 3) uint8."""
        developed = develop(linear, self.camera, 1.0)
        return np.asarray(developed.filter(ImageFilter.GaussianBlur(self.camera.blur)))

    def noise(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Some pictures of sensor noise to draw from, (count, H, W, 3) int8."""
        width, height = self.size
        grain = random.standard_normal((count, height, width, 1), dtype=np.float32) * self.camera.noise
        tint = random.standard_normal((count, height // 2, width // 2, 3), dtype=np.float32) * (self.camera.noise * 0.4)
        return np.rint(grain + tint.repeat(2, axis=1).repeat(2, axis=2)).clip(-127, 127).astype(np.int8)


def build_site(spec: TrafficSpec, name: str) -> Site:
    """Build a camera of the spec; a pure function of its arguments."""
    number = FOUR_CAMERAS.index(name)
    place = _PLACES[name]
    azimuth, elevation = place.sun
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    camera = dataclasses.replace(
        build_camera(spec.seed, 90 + number),
        yaw=0.0,
        sun=sun,
        sunlight=np.array([1.0, 0.96, 0.88]) * place.sunlight,
        skylight=np.array([0.92, 0.97, 1.05]) * place.skylight,
        cast=np.array(place.cast),
        exposure=place.exposure,
        contrast=place.contrast,
        saturation=place.saturation,
        blur=place.blur,
        noise=place.noise,
        shadow=place.shadow,
    )
    straight = look_at(np.array(place.eye), np.array(place.target), 0.0)
    view = View(straight.eye, straight.basis, place.focal * spec.width, (-spec.width / 2, -spec.height / 2))
    size = (spec.width, spec.height)
    random = np.random.default_rng(np.random.SeedSequence([spec.seed, 7, number]))
    light = (camera.sunlight * camera.sun[2] + camera.skylight).astype(np.float32)
    return Site(name, view, camera, place.target[0], size, _road(view, size, random) * light)


def _road(view: View, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """The colour of the ground in every pixel, (height, width, 3) float32."""
    width, height = size
    lattices = random.standard_normal((4, 512, 512), dtype=np.float32) * np.float32(0.5)
    column = np.tile(np.arange(width), height)
    row = np.repeat(np.arange(height), width)
    total = np.zeros((3, width * height), dtype=np.float32)
    for i, j in product(range(_FINE), repeat=2):
        ray = view.rays(column + (i + 0.5) / _FINE, row + (j + 0.5) / _FINE)
        reach = np.float32(-view.eye[2]) / np.minimum(ray[2], np.float32(-0.02))
        along, aside = (ray[axis] * reach + np.float32(view.eye[axis]) for axis in (0, 1))
        total += _surface(along, aside, lattices)
    return (total.T / np.float32(_FINE**2)).reshape(height, width, 3)


def _surface(along: np.ndarray, aside: np.ndarray, lattices: np.ndarray) -> np.ndarray:
    """The colour of places (N,) in metres, (3, N): asphalt, lines, kerbs, pavement and grass."""
    wide, rough, fine, grit = (
        _cloud(lattice, along, aside, cell) for lattice, cell in zip(lattices, (6.0, 1.4, 0.35, 0.06), strict=True)
    )
    asphalt = 0.13 * (1 + 0.35 * wide + 0.2 * rough + 0.12 * fine + 0.30 * grit)
    wheels = np.abs(np.abs(np.abs(aside) - 1.65) - 0.8)
    asphalt *= 1 - 0.13 * np.maximum(1 - wheels / 0.5, 0)
    asphalt *= np.where((np.abs(along - 27.0) < 2.2) & (np.abs(aside - 2.3) < 0.9), 0.62, 1.0).astype(np.float32)
    asphalt *= np.where((along - 22.5) ** 2 + (aside + 1.2) ** 2 < 0.33**2, 0.5, 1.0).astype(np.float32)
    lines = ((np.abs(aside) < 0.07) & (along % 5.0 < 2.2)) | (np.abs(np.abs(aside) - 3.5) < 0.06)
    beyond = np.abs(aside) - ROAD
    slabs = np.where(((along % 0.6) < 0.025) | ((beyond % 0.5) < 0.025), 0.65, 1.0)
    surfaces = (
        (lines, 0.55 * (0.75 + 0.25 * fine + 0.15 * grit), (1.0, 1.0, 0.95)),
        (beyond < 0, asphalt, (1.0, 1.0, 1.02)),
        (beyond < 0.2, 0.32 * (1 + 0.2 * fine), (1.0, 0.98, 0.94)),
        (beyond < 2.2, 0.24 * slabs * (1 + 0.2 * rough + 0.15 * grit), (1.0, 0.97, 0.92)),
        (beyond >= 2.2, 1 + 0.4 * wide + 0.4 * fine + 0.6 * grit, (0.06, 0.115, 0.03)),
    )
    where, tones, colours = zip(*surfaces, strict=True)
    kind = np.select(where, range(len(surfaces)))
    tone = np.select(where, tones)
    return np.clip(np.array(colours, dtype=np.float32)[kind].T * tone, 0.01, 1.0)


def _cloud(lattice: np.ndarray, x: np.ndarray, y: np.ndarray, cell: float) -> np.ndarray:
    """Smooth noise about zero, mostly within -1 to 1, at places (N,) in metres; `cell` is how fine it is."""
    u, v = x / cell, y / cell
    left, upper = np.floor(u), np.floor(v)
    right, down = u - left, v - upper
    column, row = left.astype(np.int32) & 511, upper.astype(np.int32) & 511
    following = (column + 1) & 511
    below = (row + 1) & 511
    over = lattice[row, column] * (1 - right) + lattice[row, following] * right
    under = lattice[below, column] * (1 - right) + lattice[below, following] * right
    return over * (1 - down) + under * down
