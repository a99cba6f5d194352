"""One camera's clip, picture by picture: only what a vehicle covers is drawn again, the empty road is kept.

Every picture comes with the ground truth of its vehicles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid_lightning.synthetic.fleet.mesh import build_mesh
from reid_lightning.synthetic.fleet.paint import paint_atlas
from reid_lightning.synthetic.fleet.raster import rasterise
from reid_lightning.synthetic.fleet.scene import SUPERSAMPLE, Placed, View, shadow, vehicle_layer
from reid_lightning.synthetic.traffic.plan import PlannedPassage, PlannedVehicle, TrafficPlan
from reid_lightning.synthetic.traffic.plates import HOLDER, PLATE_SIZE, build_plates, without_painted_plate
from reid_lightning.synthetic.traffic.site import HEADING, Site
from reid_lightning.synthetic.traffic.truth import BoxTruth

_MARGIN = 4
_NOISES = 6
_COARSE = 2
LEAST_VISIBLE = 0.02
"""The share of a vehicle that must show to count as being in the picture."""
LEGIBLE_WIDTH = 50.0
"""Pixels that a plate must be wide to be called legible: from there on RapidOCR reads most of them exactly."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Model:
    """A vehicle ready to be placed: its body and its plates."""

    body: Placed
    plates: Placed

    def at(self, place: tuple[float, float]) -> tuple[Placed, Placed]:
        """Body and plates in the world."""
        body, plates = (Placed(part.mesh, part.atlas, place, HEADING) for part in (self.body, self.plates))
        return body, plates


def build_model(vehicle: PlannedVehicle) -> Model:
    """Build what is drawn of a vehicle."""
    body = Placed(build_mesh(vehicle.look), paint_atlas(without_painted_plate(vehicle.look)), (0.0, 0.0), 0.0)
    return Model(body, build_plates(vehicle.plate, vehicle.look.model))


def draw_clip(plan: TrafficPlan, site: Site, models: dict[str, Model]) -> Iterator[tuple[np.ndarray, list[BoxTruth]]]:
    """Draw a camera's pictures in the order of time.

    Args:
        plan: what passes.
        site: the camera.
        models: what is drawn of each vehicle, by name.

    Yields:
        A picture, (height, width, 3) uint8 RGB, and the vehicles in it.
    """
    spec = plan.spec
    random = np.random.default_rng(np.random.SeedSequence([spec.seed, 8, plan.spec.width, len(site.name)]))
    noise, empty = site.noise(_NOISES, random), site.picture(site.empty)
    roads = [_add(empty, grain) for grain in noise]
    passages = plan.at(site.name)
    for number in range(spec.frames):
        seconds = number / spec.frames_per_second
        grain = int(random.integers(_NOISES))
        picture, boxes = roads[grain].copy(), []
        present = _present(site, passages, models, seconds)
        for group in _groups([rectangle for _, _, rectangle in present]):
            members = [present[i] for i in group]
            left, top, right, bottom = rectangle = _union([rectangle for _, _, rectangle in members])
            drawn, found = _draw_group(site, members, rectangle, number)
            part = (slice(top, bottom), slice(left, right))
            picture[part] = _add(drawn, noise[grain][part])
            boxes += found
        yield picture, boxes


def _add(picture: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """A picture with noise, both (H, W, 3)."""
    return np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _present(
    site: Site, passages: tuple[PlannedPassage, ...], models: dict[str, Model], seconds: float
) -> list[tuple[PlannedPassage, tuple[Placed, Placed], Rectangle]]:
    """The vehicles in the picture, each with what of the picture it and its shadow may change."""
    found = []
    for passage in passages:
        x = site.middle - passage.speed * (seconds - passage.seconds)
        if not 4.0 < x < 90.0:
            continue
        parts = models[passage.vehicle].at((x, passage.lane))
        corners = parts[0].points()
        points, _ = site.view.project(corners)
        if _clip(points, site.size) is None:
            continue
        ground = corners * (1, 1, 0)
        tilt = site.camera.sun[:2] / max(site.camera.sun[2], 0.35)
        ground[:, :2] -= tilt * corners[:, 2:]
        cast, _ = site.view.project(ground)
        low, high = points.min(axis=0), points.max(axis=0)
        around = np.concatenate([points, cast, [low - 0.1 * (high - low), high + 0.1 * (high - low)]])
        changed = _clip(around, site.size)
        if changed is not None:  # as it is for any vehicle in the picture
            found.append((passage, parts, changed))
    return found


def _clip(points: np.ndarray, size: tuple[int, int]) -> Rectangle | None:
    """The rectangle around points (N, 2), with a margin, inside the picture; None when it is outside."""
    left, top = (int(value) for value in np.floor(points.min(axis=0)) - _MARGIN)
    right, bottom = (int(value) for value in np.ceil(points.max(axis=0)) + _MARGIN)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _union(rectangles: list[Rectangle]) -> Rectangle:
    """The rectangle around rectangles."""
    left, top, right, bottom = zip(*rectangles, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _groups(rectangles: list[Rectangle]) -> list[list[int]]:
    """Rectangles that overlap, directly or by others, together."""
    groups: list[tuple[Rectangle, list[int]]] = []
    for number, rectangle in enumerate(rectangles):
        members = [number]
        while touching := [group for group in groups if _overlap(group[0], rectangle)]:
            groups = [group for group in groups if group not in touching]
            members += [i for _, others in touching for i in others]
            rectangle = _union([rectangle, *(around for around, _ in touching)])
        groups.append((rectangle, sorted(members)))
    return [members for _, members in groups]


def _overlap(one: Rectangle, two: Rectangle) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _window(view: View, rectangle: Rectangle) -> tuple[View, tuple[int, int]]:
    """The view of a part of the picture, and its size."""
    left, top, right, bottom = rectangle
    corner = (view.corner[0] + left, view.corner[1] + top)
    return View(view.eye, view.basis, view.focal, corner), (right - left, bottom - top)


def _draw_group(
    site: Site,
    members: list[tuple[PlannedPassage, tuple[Placed, Placed], Rectangle]],
    rectangle: Rectangle,
    frame: int,
) -> tuple[np.ndarray, list[BoxTruth]]:
    """Draw the part of the picture with vehicles that may hide each other; returns it and where they are."""
    left, top, right, bottom = rectangle
    linear = site.empty[top:bottom, left:right].copy()
    for _, (body, _), (x0, y0, x1, y1) in members:
        view, size = _window(site.view, (x0, y0, x1, y1))
        linear[y0 - top : y1 - top, x0 - left : x1 - left] *= shadow(view, site.camera, body, size=size)[..., None]
    view, size = _window(site.view, rectangle)
    vehicles = [part for _, parts, _ in members for part in parts]
    layer, pixels, owners = vehicle_layer(view, site.camera, vehicles, size=size)
    linear = linear * (1 - layer[..., 3:]) + layer[..., :3]
    found = []
    for number, (passage, (body, plates), _) in enumerate(members):
        own, plate = (pixels[owners == 2 * number + part] for part in (0, 1))
        box = _box(np.concatenate([own, plate]), size[0], (left, top))
        if box is None:
            continue
        whole = len(members) == 1 and box[0] > 0 and box[1] > 0 and box[2] < site.size[0] and box[3] < site.size[1]
        visible = 1.0 if whole else min(1.0, (len(own) + len(plate)) / max(_whole(view, body), 1))
        if visible < LEAST_VISIBLE:
            continue
        wide, share = _plate(view, plates, len(plate))
        found.append(
            BoxTruth(
                camera=site.name,
                frame=frame,
                vehicle=passage.vehicle,
                box=box,
                visible=round(visible, 3),
                plate_box=_box(plate, size[0], (left, top)),
                plate_width=round(wide, 1),
                legible=share > 0.97 and wide >= LEGIBLE_WIDTH,
            )
        )
    return site.picture(linear), found


def _box(pixels: np.ndarray, width: int, corner: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """The box of fine pixels of a window in pixels of the picture; None without any."""
    if not len(pixels):
        return None
    y, x = np.divmod(pixels, width * SUPERSAMPLE)
    left, right, top, bottom = (int(value) / SUPERSAMPLE for value in (x.min(), x.max() + 1, y.min(), y.max() + 1))
    return left + corner[0], top + corner[1], right + corner[0], bottom + corner[1]


def _whole(view: View, body: Placed) -> int:
    """How many fine pixels a body would show with nothing before it in a picture without edges, roughly."""
    corners, normals = body.world()
    facing = ((view.eye - corners.mean(axis=1)) * normals.mean(axis=1)).sum(axis=1) > 0
    points, depth = view.project(corners[facing])
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    wide, high = (int(side) for side in np.ceil((high - low) / _COARSE) + 1)
    pixels, _ = rasterise((points - low) / _COARSE, depth, (wide, high))
    return len(pixels) * (_COARSE * SUPERSAMPLE) ** 2


def _plate(view: View, plates: Placed, pixels: int) -> tuple[float, float]:
    """Pixels that the plate towards the camera is wide, and the share of it that shows."""
    corners, normals = plates.world()
    facing = ((view.eye - corners.mean(axis=1)) * normals.mean(axis=1)).sum(axis=1) > 0
    if not facing.any():
        return 0.0, 0.0
    triangles, _ = view.project(corners[facing])
    one, two = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    area = float(np.abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).sum() / 2)
    wide = float(np.hypot(*(triangles[0, 1] - triangles[0, 0]))) * PLATE_SIZE[0] / (PLATE_SIZE[0] + 2 * HOLDER)
    return wide, pixels / SUPERSAMPLE**2 / max(area, 1e-6)
