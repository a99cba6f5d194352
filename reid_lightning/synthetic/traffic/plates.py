"""Number plates that can be read: their own sheets of metal with their own texture, on nose and tail.

The plate painted into a vehicle's atlas is a mark like any other, some 15 pixels high; it is covered by a black holder.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reid_lightning.synthetic.fleet.bodies import VehicleModel
from reid_lightning.synthetic.fleet.brush import BLACK
from reid_lightning.synthetic.fleet.look import VehicleLook
from reid_lightning.synthetic.fleet.mesh import ATLAS, Mesh, outline_points
from reid_lightning.synthetic.fleet.scene import Placed

PLATE_SIZE = (0.52, 0.11)
"""Width and height in metres, those of European plates."""
HOLDER = 0.035
"""Metres of the black holder that show around a plate, which sets white plates off white bodies."""
_DENSITY = 300
"""Pixels a metre of a plate's texture, about as many as the finest view samples: more would flicker."""
TEXTURE = round((PLATE_SIZE[0] + 2 * HOLDER) * _DENSITY), round((PLATE_SIZE[1] + 2 * HOLDER) * _DENSITY)
"""Width and height of a plate with its holder in pixels; two lie below each other in the atlas, the front one first."""


def plate_text(plate: str) -> str:
    """What is written on it: a space after the first four, as on British plates."""
    return f"{plate[:4]} {plate[4:]}"


def without_painted_plate(look: VehicleLook) -> VehicleLook:
    """The look to paint an atlas from that has an empty black holder in place of its plate."""
    return dataclasses.replace(look, plate=("", BLACK))


def build_plates(plate: str, model: VehicleModel) -> Placed:
    """Both plates of a vehicle as a thing of its own, which stands and heads where the vehicle does."""
    atlas = np.zeros((ATLAS, ATLAS, 4), dtype=np.uint8)
    for row, fill in enumerate(((240, 240, 236), (244, 200, 28))):
        atlas[row * TEXTURE[1] : (row + 1) * TEXTURE[1], : TEXTURE[0], :3] = np.asarray(_texture(plate, fill))
    points, along = outline_points(model)
    corners, normals, uv = [], [], []
    for row, ahead in enumerate((1.0, -1.0)):
        x, z = _mount(model, points, along, ahead)
        half, rise = (side / 2 + HOLDER for side in PLATE_SIZE)
        # Seen from outside, from the upper left around: the vehicle's left is on the right of its nose.
        sides = (-half * ahead, half * ahead)
        quad = np.array(
            [(x, sides[0], z + rise), (x, sides[1], z + rise), (x, sides[1], z - rise), (x, sides[0], z - rise)]
        )
        right, bottom = TEXTURE[0] - 1.0, (row + 1) * TEXTURE[1] - 1.0
        top = float(row * TEXTURE[1])
        chart = np.array([(0.0, top), (right, top), (right, bottom), (0.0, bottom)])
        for pick in ((0, 1, 2), (0, 2, 3)):
            corners.append(quad[list(pick)])
            uv.append(chart[list(pick)])
            normals.append(np.tile((ahead, 0.0, 0.0), (3, 1)))
    corner, normal, chart = (np.stack(parts).astype(np.float32) for parts in (corners, normals, uv))
    points = np.unique(corner.reshape(-1, 3), axis=0).astype(np.float64)
    return Placed(Mesh(corner, normal, chart, points), atlas, (0.0, 0.0), 0.0)


def _mount(model: VehicleModel, points: np.ndarray, along: np.ndarray, ahead: float) -> tuple[float, float]:
    """Where the plate's middle sits, x and z: just outside of the body over its whole height."""
    front, rear = float(along[model.bonnet[0]]), float(along[model.tail[0]])
    place = front * 0.41 if ahead > 0 else rear + (1 - rear) * 0.53
    z = float(np.interp(place, along, points[:, 1]))
    if model.type in ("truck", "pickup"):
        z = min(z, 0.75)
    part = slice(0, model.bonnet[0] + 1) if ahead > 0 else slice(model.tail[0], len(points))
    x, heights = points[part, 0], points[part, 1]
    rise = PLATE_SIZE[1] / 2 + HOLDER
    order = np.argsort(heights, kind="stable")
    around = np.interp(np.linspace(z - rise, z + rise, 5), heights[order], x[order])
    return float((around * ahead).max() + 0.02) * ahead, z


def _texture(plate: str, fill: tuple[int, int, int]) -> Image.Image:
    """A plate with bold letters in its holder."""
    scale = 8 * _DENSITY
    width, height = (round(side * scale) for side in PLATE_SIZE)
    text = plate_text(plate)
    font = ImageFont.load_default(size=height)
    left, top, right, bottom = font.getbbox(text, stroke_width=6)
    letters = Image.new("L", (round(right - left), round(bottom - top)), 0)
    ImageDraw.Draw(letters).text((-left, -top), text, fill=255, font=font, stroke_width=6)
    high = round(height * 0.70)
    wide = min(round(width * 0.88), round(letters.width * high / letters.height))
    letters = letters.resize((wide, high), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (width + round(2 * HOLDER * scale), height + round(2 * HOLDER * scale)), (14, 14, 15))
    corner = (round(HOLDER * scale), round(HOLDER * scale))
    picture.paste(fill, (*corner, corner[0] + width, corner[1] + height))
    picture.paste((16, 16, 18), (corner[0] + (width - wide) // 2, corner[1] + (height - high) // 2), letters)
    return picture.resize(TEXTURE, Image.Resampling.BOX)
