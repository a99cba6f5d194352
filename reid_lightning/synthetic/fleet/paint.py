"""Paints a vehicle's atlas: panels, glass, lamps, wheels and every mark that tells it from its look-alikes.

Drawn flat once per identity with PIL; the mesh's texture coordinates wrap it around the body.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from reid_lightning.synthetic.fleet.brush import (
    BLACK,
    CHROME,
    GLASS,
    HEADLAMP,
    LAMP,
    MATTE,
    PAINT,
    SIDE_HEIGHT,
    TAIL_LAMPS,
    Sheet,
    blank,
    decal,
    scratch,
    shade,
    to_bytes,
)
from reid_lightning.synthetic.fleet.look import VehicleLook
from reid_lightning.synthetic.fleet.mesh import ATLAS, SIDES, STRIP, SWATCHES, WHEEL
from reid_lightning.synthetic.fleet.paint_strip import paint_strip


def paint_atlas(look: VehicleLook) -> np.ndarray:
    """Paint all charts of a vehicle.

    Returns:
        (ATLAS, ATLAS, 4) uint8: sRGB and the material (MATTE, PAINT, GLASS or LAMP).
    """
    colour = Image.new("RGB", (ATLAS, ATLAS), to_bytes(look.paint))
    material = Image.new("L", (ATLAS, ATLAS), MATTE)
    strip = paint_strip(look)
    colour.paste(strip.colour, (0, STRIP[0]))
    material.paste(strip.material, (0, STRIP[0]))
    for rows, mirrored in zip(SIDES, (False, True), strict=True):
        side = paint_side(look, mirrored)
        colour.paste(side.colour, (0, rows[0]))
        material.paste(side.material, (0, rows[0]))
    left, top, size = WHEEL
    rim = _rim(look, size)
    colour.paste(rim.colour, (left, top))
    material.paste(rim.material, (left, top))
    rack = look.rack[1] if look.rack is not None else BLACK
    plain = {
        "tyre": (0.05, 0.05, 0.05),
        "rack": rack,
        "mirror": look.mirrors or look.paint,
        "dark": BLACK,
        "lamp": HEADLAMP,
        "load": look.load,
    }
    for name, index in SWATCHES.items():
        x = left + size + 16 * index
        colour.paste(to_bytes(plain[name]), (x, top, x + 16, top + 16))
        material.paste(PAINT if name in ("mirror", "rack") else MATTE, (x, top, x + 16, top + 16))
    painted = np.array(colour)
    for first, last in SIDES:
        cover = look.dirt * np.linspace(-0.6, 1, last - first)[:, None, None].clip(0) ** 2
        painted[first:last] = (painted[first:last] * (1 - cover) + np.array([92, 80, 66]) * cover).astype(np.uint8)
    return np.dstack([painted, np.asarray(material)])


def paint_side(look: VehicleLook, mirrored: bool) -> Sheet:
    """One side: u from nose to tail, v from the roof's height to the ground."""
    model, sheet = look.model, blank(look, SIDE_HEIGHT, mirrored)
    low, belt = 1 - model.clearance / model.height, 1 - model.belt
    panels = dict(look.panels)
    doors = (*model.doors, model.doors[-1])
    for name, u0, u1 in (
        ("wing", 0.0, doors[0]),
        ("front door", doors[0], doors[1]),
        ("rear door", doors[1], doors[2]),
    ):
        if name in panels and u1 > u0:
            sheet.box(u0, belt - 0.01, u1, 1.0, panels[name])
    if "roof" in panels:
        sheet.box(model.cabins[0][1] - 0.03, 0.0, model.cabins[0][2] + 0.03, 0.13, panels["roof"])
    if "bumpers" in panels:
        for u0, u1 in ((0.0, 0.05), (0.95, 1.0)):
            sheet.box(u0, belt + 0.2, u1, 1.0, panels["bumpers"])
    if model.load is not None:
        outline = model.outline
        start, height = outline[model.load[0]][0] - 0.004, 1 - outline[model.load[0] + 1][1]
        fill = look.paint if model.type == "pickup" else look.load
        floor = 1 - outline[model.load[0] - 1][1] + 0.03 if model.type != "pickup" else low
        sheet.box(start, height - 0.02, 1.0, floor, fill)
        if model.type != "pickup":
            for u in np.linspace(start + 0.02, 0.985, 8):
                sheet.line([(u, height), (u, floor)], shade(fill, 0.72), 3)
            sheet.box(start, floor, 1.0, 1.0, BLACK, MATTE)
    if look.band is not None:
        top, bottom = 1 - look.band[1], 1 - look.band[0]
        sheet.box(0.0, top, 1.0, bottom, look.band[2])
    if look.cladding is not None:
        sheet.box(0.0, low - 0.13, 1.0, 1.0, look.cladding, MATTE)
    else:
        sheet.box(0.1, low - 0.03, 0.9, 1.0, BLACK, MATTE)
    for belt_front, roof_front, roof_rear, belt_rear in model.cabins:
        glass = [(belt_front, belt - 0.015), (roof_front, 0.085), (roof_rear, 0.085), (belt_rear, belt - 0.015)]
        sheet.polygon(glass, look.tint, GLASS)
        sheet.line([*glass, glass[0]], BLACK if look.lamps[0] != 1 else CHROME, 2)
        pillars = (
            (doors[1],) if model.type not in ("bus", "van") else tuple(np.linspace(belt_front, belt_rear, 8)[1:-1])
        )
        for u in pillars:
            if roof_front < u < belt_rear:
                sheet.line([(u, 0.08), (u, belt)], BLACK, 5)
    for u in (0.5 * (belt_front + doors[1]), 0.5 * (doors[1] + belt_rear)):
        if model.type not in ("bus", "van"):
            sheet.box(u, belt - 0.13, u + 0.04, belt - 0.02, shade(look.tint, 1.5), GLASS)
    crease = belt + (low - belt) * 0.28
    sheet.line([(0.03, crease + 0.01), (0.97, crease)], shade(look.paint, 0.72), 2)
    for u in model.doors:
        sheet.line([(u, belt), (u, low - 0.02)], shade(look.paint, 0.35), 1)
    for u in doors[1:3]:
        sheet.box(u - 0.035, belt + 0.07, u - 0.012, belt + 0.095, shade(look.paint, 0.45))
    lamp = 1 - model.outline[model.bonnet[0]][1]
    if model.type in ("truck", "bus", "van"):
        lamp = 1 - 0.5 * model.belt
    sheet.polygon([(0.0, lamp + 0.04), (0.055, lamp + 0.03), (0.035, lamp + 0.13), (0.0, lamp + 0.15)], HEADLAMP, LAMP)
    tail = 1 - model.outline[model.tail[0]][1] if model.type != "truck" else low - 0.1
    sheet.box(0.962, tail + 0.03, 1.0, tail + 0.15, TAIL_LAMPS[look.lamps[1]], LAMP)
    radius = model.wheel * 1.16
    for axle in model.axles:
        sheet.ellipse(
            axle,
            1 - model.wheel / model.height,
            (radius / model.length * ATLAS, radius / model.height * SIDE_HEIGHT),
            BLACK,
            MATTE,
        )
    metre = (ATLAS / model.length, SIDE_HEIGHT / model.height)
    place = "right" if mirrored else "left"
    for sticker in look.stickers:
        if sticker.place == place:
            v = belt + 0.04 + (low - belt - 0.08) * sticker.v
            if model.load is not None and sticker.u > 0.35 and model.type == "truck":
                v = 0.12 + 0.4 * sticker.v
            sheet.paste(decal(sticker, metre), sticker.u, v)
    scratch(sheet, look, place, lambda u, v: (u, belt + (low - belt) * v))
    return sheet


def _rim(look: VehicleLook, size: int) -> Sheet:
    """A tyre with its rim in one of five patterns."""
    sheet = Sheet(Image.new("RGB", (size, size), (13, 13, 13)), Image.new("L", (size, size), MATTE))
    kind, fill = look.rim
    radius = size * 0.37
    sheet.ellipse(0.5, 0.5, (radius, radius), fill, LAMP)
    spokes = (0, 5, 6, 10, 4)[kind]
    for i in range(spokes):
        angle = 2 * np.pi * (i + 0.5) / spokes
        wide = 0.55 * np.pi / spokes
        edge = [(0.5 + 0.33 * np.cos(a), 0.5 + 0.33 * np.sin(a)) for a in (angle - wide, angle, angle + wide)]
        centre = (0.5 + 0.09 * np.cos(angle), 0.5 + 0.09 * np.sin(angle))
        sheet.polygon([centre, *edge], shade(BLACK, 0.8), MATTE)
    sheet.ellipse(0.5, 0.5, (size * 0.07, size * 0.07), shade(fill, 0.6), LAMP)
    return sheet
