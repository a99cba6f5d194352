"""Bodies as triangles: a lofted shell from the model's outline, with wheels, mirrors and what is carried on the roof.

A few hundred triangles suffice because windows, lamps and marks are painted on (see paint.py), not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid_lightning.synthetic.fleet.bodies import VehicleModel
from reid_lightning.synthetic.fleet.look import VehicleLook

ATLAS = 512
"""Pixels on a side of the texture that holds all charts of a vehicle."""
STRIP = (0, 160)
SIDES = ((160, 304), (304, 448))
"""First and last row of the charts: the strip over bonnet, roof and tail; the left and the right side."""
WHEEL = (0, 448, 64)
"""Left, top and size of the wheel's chart."""
SWATCHES = {"tyre": 0, "rack": 1, "mirror": 2, "dark": 3, "lamp": 4, "load": 5}
"""Plain colours, each a cell of 16 pixels right of the wheel."""

_ACROSS = np.array([-1.0, -0.86, -0.5, 0.5, 0.86, 1.0])


@dataclass(frozen=True)
class Mesh:
    """Triangles of one vehicle: x forward, y left, z up, in metres from the ground below its middle.

    corners: (T, 3, 3) positions; normals: (T, 3, 3) unit; uv: (T, 3, 2) atlas pixels; points: (N, 3) the distinct
    corners.
    """

    corners: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    points: np.ndarray


def outline_points(model: VehicleModel) -> tuple[np.ndarray, np.ndarray]:
    """The outline in metres, (N, 3) of x, z, half width, and its arc length scaled to 0 to 1, (N,)."""
    outline = np.array(model.outline)
    points = np.stack(
        [(0.5 - outline[:, 0]) * model.length, outline[:, 1] * model.height, outline[:, 2] * model.width / 2], axis=1
    )
    steps = np.hypot(*np.diff(points[:, :2], axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    return points, along / along[-1]


def build_mesh(look: VehicleLook) -> Mesh:
    """Build the triangles of a vehicle."""
    model = look.model
    quads = [*_shell(model)]
    corners, normals, uv = _finish_shell(quads)
    parts = [(corners, normals, uv)]
    half = model.width / 2
    for axle in model.axles:
        for side in (1, -1):
            parts.append(_wheel((0.5 - axle) * model.length, side, half, model.wheel))
    points, _ = outline_points(model)
    x = points[model.windscreen[0], 0]
    big = model.type in ("truck", "bus", "van")
    for side in (1, -1):
        size = (0.14, 0.20, 0.34) if big else (0.14, 0.22, 0.15)
        centre = (
            x - 0.30 * (not big) + 0.05 * big,
            side * (half * (0.9 if big else 0.96) + 0.08),
            model.belt * model.height + 0.1,
        )
        parts.append(_box(centre, size, "mirror"))
    if look.rack is not None:
        parts.extend(_rack(look, points))
    if model.load is not None and model.name != "box":
        parts.extend(_load(look, points, model.load))
    corners, normals, uv = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts, strict=True))
    points = np.unique(np.round(corners.reshape(-1, 3), 2), axis=0).astype(np.float64)
    return Mesh(corners, normals, uv, points)


def _shell(model: VehicleModel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Grids of the strip and both sides, each ((rows, columns, 3) positions, (rows, columns, 2) atlas pixels)."""
    points, along = outline_points(model)
    pieces = np.maximum(1, np.ceil(np.diff(along) / 0.06).astype(int))
    fine = np.concatenate([[0.0], *(np.linspace(along[i], along[i + 1], n + 1)[1:] for i, n in enumerate(pieces))])
    x, z, half = (np.interp(fine, along, points[:, i]) for i in range(3))
    low = points[0, 1]
    across = _ACROSS[None, :]
    ends = np.clip((np.abs(x) / (model.length / 2) - 0.8) / 0.2, 0, 1) * np.sign(x)
    bulge = 0.16 * (1 - across**2) * ends[:, None]
    crown = np.where(z > low + 0.05, 0.05, 0.0)[:, None] * np.abs(across) ** 3
    strip = np.stack([x[:, None] + bulge - 0.16 * ends[:, None], half[:, None] * across, z[:, None] - crown], axis=-1)
    strip_uv = np.stack(
        np.broadcast_arrays(fine[:, None] * (ATLAS - 1), STRIP[0] + (across + 1) / 2 * (STRIP[1] - STRIP[0] - 1)),
        axis=-1,
    )
    grids = [(strip, strip_uv)]
    inset = np.clip((np.abs(x) / (model.length / 2) - 0.8) / 0.2, 0, 1) ** 2
    body = model.width / 2 * (1 - (1 - model.outline[0][2]) * inset)
    top = z - crown[:, -1]
    belt = np.clip(model.belt * model.height, low, np.maximum(top - 0.02, low))
    heights = np.stack(
        [top, belt, low + (belt - low) * 0.62, low + (belt - low) * 0.25, np.full_like(top, low)], axis=1
    )
    widths = np.stack([half, body * 0.965, body, body * 0.985, body * (0.94 + 0.06 * inset)], axis=1)
    widths[:, 1] = np.where(top - belt < 0.06, half, np.maximum(widths[:, 1], half))
    edge = strip[:, -1, 0]
    for rows, side in zip(SIDES, (1, -1), strict=True):
        grid = np.stack([np.broadcast_to(edge[:, None], heights.shape), side * widths, heights], axis=-1)
        fraction = 0.5 - grid[..., 0] / model.length
        u = fraction if side == 1 else 1 - fraction
        v = rows[0] + (1 - grid[..., 2] / model.height) * (rows[1] - rows[0] - 1)
        grids.append((grid, np.stack([u * (ATLAS - 1), v], axis=-1)))
    return grids


def _finish_shell(grids: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grids to triangles that face outwards, with normals smoothed where faces meet at less than 50 degrees."""
    corners, uvs = [], []
    for index, (grid, uv) in enumerate(grids):
        order = ((0, 0), (1, 0), (1, 1), (0, 1))
        if index != 2:
            order = order[::-1]
        rows, columns = grid.shape[:2]
        quad = np.stack([grid[i : rows - 1 + i, j : columns - 1 + j] for i, j in order], axis=2).reshape(-1, 4, 3)
        quad_uv = np.stack([uv[i : rows - 1 + i, j : columns - 1 + j] for i, j in order], axis=2).reshape(-1, 4, 2)
        for pick in ((0, 1, 2), (0, 2, 3)):
            corners.append(quad[:, pick])
            uvs.append(quad_uv[:, pick])
    corner, uv = np.concatenate(corners), np.concatenate(uvs)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(cross, axis=1)
    keep = area > 1e-6
    corner, uv, cross, area = corner[keep], uv[keep], cross[keep], area[keep]
    face = cross / area[:, None]
    keys = np.round(corner.reshape(-1, 3), 4)
    _, point = np.unique(keys, axis=0, return_inverse=True)
    point = point.reshape(-1)
    owner = np.repeat(np.arange(len(corner)), 3)
    normals = np.zeros((len(owner), 3))
    by_point = np.argsort(point, kind="stable")
    for group in np.split(by_point, np.flatnonzero(np.diff(point[by_point])) + 1):
        around = face[owner[group]]
        near = np.einsum("ik,jk->ij", around, around) > 0.55
        normals[group] = np.einsum("ij,jk->ik", near * area[owner[group]][None, :], around)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return corner, normals.reshape(-1, 3, 3), uv


def _wheel(x: float, side: int, half: float, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wheel: a disc with the rim's chart and a tread, standing on the ground."""
    angles = np.linspace(0, 2 * np.pi, 15)
    circle = np.stack([x + radius * np.cos(angles), np.zeros_like(angles), radius + radius * np.sin(angles)], axis=1)
    outer, inner = circle.copy(), circle.copy()
    outer[:, 1], inner[:, 1] = side * (half + 0.005), side * (half - 0.22)
    centre = np.array([x, side * (half - 0.02), radius])
    left, top, size = WHEEL
    middle = np.array([left + size / 2, top + size / 2])
    rim = middle + np.stack([np.cos(angles), np.sin(angles)], axis=1) * (size / 2 - 1)
    disc = np.stack([np.broadcast_to(centre, outer[:-1].shape), outer[:-1], outer[1:]], axis=1)
    disc_uv = np.stack([np.broadcast_to(middle, rim[:-1].shape), rim[:-1], rim[1:]], axis=1)
    facing = np.broadcast_to(np.array([0.0, side, 0.0]), disc.shape)
    tread = np.concatenate(
        [np.stack([outer[:-1], inner[:-1], inner[1:]], axis=1), np.stack([outer[:-1], inner[1:], outer[1:]], axis=1)]
    )
    radial = (tread - centre) * np.array([1.0, 0.0, 1.0])
    radial /= np.maximum(np.linalg.norm(radial, axis=-1, keepdims=True), 1e-9)
    tread_uv = np.broadcast_to(_swatch("tyre"), (*tread.shape[:2], 2))
    return np.concatenate([disc, tread]), np.concatenate([facing, radial]), np.concatenate([disc_uv, tread_uv])


def _swatch(name: str) -> np.ndarray:
    """Atlas pixel in the middle of a plain colour."""
    left, top, size = WHEEL
    return np.array([left + size + 16 * SWATCHES[name] + 8.0, top + 8.0])


def _box(
    centre: tuple[float, float, float], size: tuple[float, float, float], swatch: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An upright box without a floor, in a plain colour."""
    corners, normals = [], []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1)):
        one, two = (i for i in range(3) if i != axis)
        square = np.zeros((4, 3))
        square[:, axis] = sign
        square[:, one] = (-1, 1, 1, -1)
        square[:, two] = (-1, -1, 1, 1)
        square = square * np.array(size) / 2 + np.array(centre)
        corners += [square[[0, 1, 2]], square[[0, 2, 3]]]
        normal = np.zeros(3)
        normal[axis] = sign
        normals += [np.tile(normal, (3, 1))] * 2
    return np.stack(corners), np.stack(normals), np.broadcast_to(_swatch(swatch), (10, 3, 2))


def _rack(look: VehicleLook, points: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What sits on the roof."""
    kind = look.rack[0] if look.rack is not None else ""
    first, last = points[look.model.roof[0]], points[look.model.roof[1]]
    front, rear, top = first[0] - 0.15, last[0] + 0.1, look.model.height
    half, middle, long = first[2] * 0.85, (front + rear) / 2, front - rear
    rails = [_box((middle, side * half, top + 0.03), (long * 0.9, 0.07, 0.10), "rack") for side in (1, -1)]
    bars = [_box((middle + shift * long, 0.0, top + 0.07), (0.10, half * 2, 0.06), "rack") for shift in (-0.28, 0.28)]
    if kind == "bars":
        return rails + bars
    if kind == "box":
        return [*bars, _box((middle - 0.05, half * 0.2, top + 0.24), (long * 0.85, half * 1.15, 0.34), "rack")]
    if kind == "sign":
        return [_box((middle + long * 0.2, 0.0, top + 0.12), (0.28, 0.75, 0.26), "rack")]
    if kind == "light bar":
        return [_box((middle + long * 0.15, 0.0, top + 0.07), (0.34, half * 1.9, 0.16), "rack")]
    if kind == "ladder":
        rungs = [
            _box((middle + shift * long, half * 0.35, top + 0.15), (0.07, 0.5, 0.06), "rack")
            for shift in (-0.4, -0.2, 0.0, 0.2, 0.4)
        ]
        poles = [_box((middle, half * 0.35 + y, top + 0.15), (long * 1.05, 0.07, 0.09), "rack") for y in (-0.25, 0.25)]
        return bars + rungs + poles
    pieces = ((-0.25, 0.3, 0.6, 0.7), (0.2, -0.35, 0.45, 0.6), (0.22, 0.4, 0.5, 0.5))
    return bars + [
        _box((middle + a * long, b * half, top + 0.22), (c * long * 0.6, d * half, 0.2 + c * 0.25), name)
        for (a, b, c, d), name in zip(pieces, ("rack", "load", "rack"), strict=True)
    ]


def _load(
    look: VehicleLook, points: np.ndarray, bed: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Goods on an open bed: two heaps whose place and size follow from the plate, so that they never change."""
    first, last = points[bed[0]], points[bed[1]]
    long, half, top = first[0] - last[0], first[2], first[1]
    digits = [int(figure) for figure in look.plate[0][2:]]
    boxes = []
    for a, b, name in ((digits[0], digits[1], "load"), (digits[2], digits[3], "rack")):
        length = long * (0.2 + 0.03 * b)
        centre = last[0] + length / 2 + (long - length) * a / 9
        height = 0.15 + 0.04 * b
        boxes.append(_box((centre, (a - 4.5) / 9 * half * 0.5, top + height / 2), (length, half * 1.2, height), name))
    return boxes
