"""One look through a camera: projects vehicles, shades what is visible and puts it over the ground.

Works in linear light; the camera's faults come later (see picture.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from reid_lightning.synthetic.fleet.cameras import GROUND, GROUND_METRES, Camera
from reid_lightning.synthetic.fleet.mesh import ATLAS, Mesh
from reid_lightning.synthetic.fleet.raster import rasterise, screen_planes

SUPERSAMPLE = 2
_BLOCK = 8192
"""Pixels shaded at once: what a processor's cache holds."""
_REFLECTION = np.array([0.01, 0.06, 0.10, 0.14], dtype=np.float32)
_GRAZING = np.array([0.1, 0.6, 0.8, 0.6], dtype=np.float32)
_HIGHLIGHT = np.array([0.0, 0.5, 1.2, 1.0], dtype=np.float32)
"""How much is mirrored from ahead and more at a grazing view, and the sun's glint; by material: see paint.py."""
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)


@dataclass(frozen=True)
class Placed:
    """A vehicle on the ground: its mesh, its atlas, where it stands (metres) and where it heads (radians)."""

    mesh: Mesh
    atlas: np.ndarray
    place: tuple[float, float]
    heading: float

    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners and normals in the world, each (T, 3, 3)."""
        turn = self._heading_matrix()
        corners = _turn(self.mesh.corners.astype(np.float64), turn)
        return corners + np.array([*self.place, 0.0]), _turn(self.mesh.normals.astype(np.float64), turn)

    def points(self) -> np.ndarray:
        """The distinct corners in the world, (N, 3)."""
        return _turn(self.mesh.points, self._heading_matrix()) + np.array([*self.place, 0.0])

    def _heading_matrix(self) -> np.ndarray:
        cosine, sine = np.cos(self.heading), np.sin(self.heading)
        return np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class View:
    """A pinhole at `eye` with the rows of `basis` right, up, forward; a crop of a picture with focal length `focal`."""

    eye: np.ndarray
    basis: np.ndarray
    focal: float = 1.0
    corner: tuple[float, float] = (0.0, 0.0)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) to crop pixels (..., 2) and depths (...)."""
        local = _turn(points - self.eye, self.basis.T)
        depth = np.maximum(local[..., 2], 0.2)
        x = local[..., 0] / depth * self.focal - self.corner[0]
        y = -local[..., 1] / depth * self.focal - self.corner[1]
        return np.stack([x, y], axis=-1), depth

    def rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Unit directions in the world through crop pixels, (3, N) float32."""
        across = ((x + self.corner[0]) / self.focal).astype(np.float32)
        up = (-(y + self.corner[1]) / self.focal).astype(np.float32)
        right, top, ahead = self.basis.astype(np.float32)
        ray = np.stack([across * right[i] + up * top[i] + ahead[i] for i in range(3)])
        return ray / np.sqrt(_dot(ray, ray))


def look_at(eye: np.ndarray, target: np.ndarray, roll: float) -> View:
    """A view from `eye` to `target`, rolled by `roll` radians."""
    forward = target - eye
    forward = forward / np.sqrt((forward**2).sum())
    right = np.array([forward[1], -forward[0], 0.0])
    right = right / np.sqrt((right**2).sum())
    up = np.cross(right, forward)
    cosine, sine = np.cos(roll), np.sin(roll)
    return View(eye, np.stack([right * cosine + up * sine, up * cosine - right * sine, forward]))


def render(
    view: View, camera: Camera, vehicles: list[Placed], *, size: tuple[int, int], road: tuple[float, float]
) -> np.ndarray:
    """Draw vehicles on the camera's ground.

    Args:
        view: the crop's view at its final scale.
        camera: whose ground and light to use.
        vehicles: the first one is the crop's own.
        size: (width, height) of the crop in pixels.
        road: how far the ground texture is shifted along and across the road, in metres.

    Returns:
        (height, width, 3) float32, linear light.
    """
    picture = _ground(view, camera, vehicles[0], size=size, road=road)
    for vehicle in vehicles:
        picture *= shadow(view, camera, vehicle, size=size)[..., None]
    layer, _, _ = vehicle_layer(view, camera, vehicles, size=size)
    return picture * (1 - layer[..., 3:]) + layer[..., :3]


def vehicle_layer(
    view: View, camera: Camera, vehicles: list[Placed], *, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw vehicles on nothing.

    Args:
        view: the crop's view at its final scale.
        camera: whose light to use.
        vehicles: what hides what follows from their places.
        size: (width, height) of the crop in pixels.

    Returns:
        layer: (height, width, 4) float32, linear light times cover, and cover; pixels: (N,) the covered ones of a
        picture SUPERSAMPLE times as fine, as y * width + x; owners: (N,) the vehicle that each of them shows.
    """
    width, height = size
    fine = (width * SUPERSAMPLE, height * SUPERSAMPLE)
    layer = np.zeros((4, fine[1] * fine[0]), dtype=np.float32)
    corner = (view.corner[0] * SUPERSAMPLE, view.corner[1] * SUPERSAMPLE)
    close = View(view.eye, view.basis, view.focal * SUPERSAMPLE, corner)
    pixels, colour, owners = _vehicles(close, camera, vehicles, fine)
    layer[:3, pixels] = colour
    layer[3, pixels] = 1.0
    planes = layer.reshape(4, fine[1], fine[0])
    parts = [planes[:, i::SUPERSAMPLE, j::SUPERSAMPLE] for i in range(SUPERSAMPLE) for j in range(SUPERSAMPLE)]
    return np.moveaxis(sum(parts[1:], parts[0]) / len(parts), 0, -1), pixels, owners


def _turn(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """points @ matrix, written out so that the bytes do not depend on the linear algebra library's threads."""
    return points[..., :1] * matrix[0] + points[..., 1:2] * matrix[1] + points[..., 2:3] * matrix[2]


def _dot(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Scalar products of columns, (3, N) by (3, N) or (3,), to (N,)."""
    return one[0] * two[0] + one[1] * two[1] + one[2] * two[2]


def _vehicles(
    view: View, camera: Camera, vehicles: list[Placed], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible pixels of all vehicles, their linear colour and whose they are: (N,), (3, N) and (N,)."""
    placed = [vehicle.world() for vehicle in vehicles]
    corners = np.concatenate([corner for corner, _ in placed])
    normals = np.concatenate([normal for _, normal in placed])
    uv = np.concatenate([vehicle.mesh.uv for vehicle in vehicles])
    owner = np.repeat(np.arange(len(vehicles)), [len(corner) for corner, _ in placed])
    middle, mean = corners[:, 0] + corners[:, 1] + corners[:, 2], normals[:, 0] + normals[:, 1] + normals[:, 2]
    facing = _dot((view.eye - middle / 3).T, mean.T) > 0
    corners, normals, uv, owner = corners[facing], normals[facing], uv[facing], owner[facing]
    points, depth = view.project(corners)
    ahead = depth.min(axis=1) > 0.5
    corners, normals, uv, owner, points, depth = (a[ahead] for a in (corners, normals, uv, owner, points, depth))
    pixels, triangles = rasterise(points, depth, size)
    inverse = 1.0 / depth[..., None]
    values = np.concatenate([np.ones_like(inverse), uv, normals, corners[..., 2:]], axis=-1) * inverse
    slope_x, slope_y, start = np.moveaxis(screen_planes(points, values).astype(np.float32), (2, 1), (0, 1))
    low, high = uv.min(axis=1).T, uv.max(axis=1).T
    atlases = np.stack([vehicle.atlas for vehicle in vehicles])
    colour = np.empty((3, len(pixels)), dtype=np.float32)
    for first in range(0, len(pixels), _BLOCK):
        block = slice(first, first + _BLOCK)
        triangle = triangles[block]
        x, y = (pixels[block] % size[0] + 0.5).astype(np.float32), (pixels[block] // size[0] + 0.5).astype(np.float32)
        inverse, u, v, *sides, height = (
            a[triangle] * x + b[triangle] * y + c[triangle] for a, b, c in zip(slope_x, slope_y, start, strict=True)
        )
        near = 1 / np.maximum(inverse, 1e-6)
        texel = [
            np.clip(np.clip(value * near, least[triangle], most[triangle]), 0, ATLAS - 1).astype(np.int64)
            for value, least, most in zip((u, v), low, high, strict=True)
        ]
        sample = atlases[owner[triangle], texel[1], texel[0]].T
        normal = np.stack(sides)
        normal /= np.maximum(np.sqrt(_dot(normal, normal)), 1e-6)
        colour[:, block] = _shade(sample, normal, height * near, view.rays(x, y), camera)
    return pixels, colour, owner[triangles]


def _shade(sample: np.ndarray, normal: np.ndarray, height: np.ndarray, ray: np.ndarray, camera: Camera) -> np.ndarray:
    """Diffuse and specular light, sky and surroundings mirrored in paint and glass; all (..., N), returns (3, N)."""
    material = (sample[3].astype(np.int64) + 42) // 85
    sun = camera.sun.astype(np.float32)
    lit = np.maximum(_dot(normal, sun), 0)
    shelter = 0.45 + 0.55 * np.clip(height / 0.7, 0, 1)
    ambient = (0.55 + 0.45 * normal[2]) * shelter
    across = _dot(normal, ray)
    mirrored = ray - 2 * across * normal
    grazing = 1 - np.clip(-across, 0, 1)
    grazing_2 = grazing * grazing
    fresnel = _REFLECTION[material] + _GRAZING[material] * grazing_2 * grazing_2 * grazing
    # A diamond angle: cheaper than the arc tangent, and the surroundings are drawn in it.
    diamond = mirrored[0] / np.maximum(np.abs(mirrored[0]) + np.abs(mirrored[1]), 1e-6)
    place = np.where(mirrored[1] < 0, 3 - diamond, 1 + diamond) * (len(camera.horizon) / 4 - 0.01)
    around = camera.horizon[place.astype(np.int64)]
    up = mirrored[2]
    mix = np.clip((up - around) * 6, 0, 1)
    environment = np.where(up < 0, 0.14, around * 0.5 * (1 - mix) + (0.7 + 0.5 * up) * mix)
    glint = np.clip(_dot(mirrored, sun), 0, 1)
    for _ in range(6):
        glint = glint * glint
    glint *= _HIGHLIGHT[material]
    diffuse = 1 - 0.5 * fresnel
    mirror = fresnel * environment * (0.6 + 0.4 * shelter)
    colour = np.empty((3, len(lit)), dtype=np.float32)
    for i in range(3):
        sunlight, skylight = np.float32(camera.sunlight[i]), np.float32(camera.skylight[i])
        light = (sunlight * lit + skylight * ambient) * diffuse
        colour[i] = _LINEAR[sample[i]] * light + mirror * skylight + glint * sunlight
    return colour


def _ground(
    view: View, camera: Camera, vehicle: Placed, *, size: tuple[int, int], road: tuple[float, float]
) -> np.ndarray:
    """The ground under every pixel, (height, width, 3)."""
    width, height = size
    x = np.tile(np.arange(width) + 0.5, height)
    y = np.repeat(np.arange(height) + 0.5, width)
    ray = view.rays(x, y)
    reach = np.float32(-view.eye[2]) / np.minimum(ray[2], -0.02)
    ahead = ray[0] * reach + np.float32(view.eye[0] - vehicle.place[0])
    aside = ray[1] * reach + np.float32(view.eye[1] - vehicle.place[1])
    cosine, sine = np.float32(np.cos(camera.yaw)), np.float32(np.sin(camera.yaw))
    scale = np.float32(GROUND / GROUND_METRES)
    row = np.floor((ahead * cosine + aside * sine + np.float32(road[0])) * scale).astype(np.int64) % GROUND
    column = np.floor((aside * cosine - ahead * sine + np.float32(road[1])) * scale).astype(np.int64) + GROUND // 2
    albedo = camera.ground[row, np.clip(column, 0, GROUND - 1)]
    light = (camera.sunlight * camera.sun[2] + camera.skylight).astype(np.float32)
    return (albedo * light).reshape(height, width, 3)


def shadow(view: View, camera: Camera, vehicle: Placed, *, size: tuple[int, int]) -> np.ndarray:
    """How much light is left on the ground, (height, width): cast shadow and the dark below the body."""
    corners = vehicle.points()
    tilt = camera.sun[:2] / max(camera.sun[2], 0.35)
    cast = corners[:, :2] - tilt * corners[:, 2:]
    under = corners[corners[:, 2] < 0.5][:, :2]
    left = np.ones((size[1], size[0]), dtype=np.float32)
    for flat, strength, radius in ((cast, camera.shadow, 0.018), (under, 0.72, 0.03)):
        hull = _hull(flat)
        points, _ = view.project(np.concatenate([hull, np.zeros((len(hull), 1))], axis=1))
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).polygon([(float(px), float(py)) for px, py in points], fill=255)
        mask = mask.filter(ImageFilter.GaussianBlur(max(size) * radius))
        left *= 1 - strength * np.asarray(mask, dtype=np.float32) / 255
    return left


def _hull(points: np.ndarray) -> np.ndarray:
    """An outer polygon of flat points: the extreme ones in 24 directions, in order, (24, 2)."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = points[:, :1] * np.cos(angles) + points[:, 1:] * np.sin(angles)
    return points[reach.argmax(axis=0)]
