"""Paints the strip that runs from the nose over bonnet, windscreen, roof and rear window to the tail."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from reid_lightning.synthetic.fleet.brush import (
    BLACK,
    CHROME,
    GLASS,
    HEADLAMP,
    LAMP,
    MATTE,
    STRIP_HEIGHT,
    TAIL_LAMPS,
    Sheet,
    blank,
    decal,
    lettering,
    scratch,
    shade,
)
from reid_lightning.synthetic.fleet.look import VehicleLook
from reid_lightning.synthetic.fleet.mesh import ATLAS, outline_points


def paint_strip(look: VehicleLook) -> Sheet:
    """The strip over nose, bonnet, windscreen, roof, rear window and tail: u along the outline, v across."""
    model, sheet = look.model, blank(look, STRIP_HEIGHT)
    points, along = outline_points(model)
    panels = dict(look.panels)

    def span(part: tuple[int, int], shrink: float = 0.0) -> tuple[float, float]:
        start, end = float(along[part[0]]), float(along[part[1]])
        return start + (end - start) * shrink, end - (end - start) * shrink

    for name, part in (("roof", model.roof), ("bonnet", model.bonnet), ("boot", model.boot)):
        if name in panels:
            sheet.box(span(part)[0], 0.0, span(part)[1], 1.0, panels[name])
    front_end, rear_start = float(along[model.bonnet[0]]), float(along[model.tail[0]])
    if model.load is not None:
        first, last = span(model.load)
        body = look.load if model.type == "truck" else look.paint
        sheet.box(first - 0.01, 0.0, 1.0, 1.0, body)
        if model.name != "box":
            sheet.box(first + 0.02, 0.06, last - 0.02, 0.94, (0.13, 0.12, 0.11), MATTE)
        else:
            for u in np.linspace(first, last, 9)[1:-1]:
                sheet.line([(u, 0.0), (u, 1.0)], shade(body, 0.75), 2)
    if "bumpers" in panels:
        sheet.box(0.0, 0.0, front_end * 0.5, 1.0, panels["bumpers"])
        sheet.box(1 - (1 - rear_start) * 0.45, 0.0, 1.0, 1.0, panels["bumpers"])
    if look.stripes is not None:
        kind, wide, offset, fill = look.stripes
        for start, end in (span(model.bonnet), span(model.roof), span(model.boot), (rear_start, 1.0)):
            for centre in ((0.5,), (0.5 - wide, 0.5 + wide), (0.5 + offset * 0.7,))[kind]:
                half = wide * (0.5, 0.32, 0.45)[kind]
                sheet.box(start, centre - half, end, centre + half, fill)
    if look.band is not None:
        for first, last in ((0, model.bonnet[0] + 1), (model.tail[0], len(points))):
            heights, lengths = points[first:last, 1] / model.height, along[first:last]
            order = np.argsort(heights, kind="stable")
            u = np.interp(look.band[:2], heights[order], lengths[order])
            sheet.box(float(u.min()), 0.0, float(u.max()), 1.0, look.band[2])
    _glass(sheet, look, span)
    _ends(sheet, look, front_end, rear_start, along)
    metre = (ATLAS * 1.0 / _length(points), STRIP_HEIGHT / model.width)
    places: dict[str, tuple[int, int]] = {"roof": model.roof, "bonnet": model.bonnet, "tail": model.tail}
    if model.load is not None:
        places |= {"roof": model.load if model.name == "box" else model.roof, "tail": model.boot}
    for sticker in look.stickers:
        if sticker.place in places:
            start, end = span(places[sticker.place], 0.12)
            sheet.paste(decal(sticker, metre), start + (end - start) * sticker.u, 0.2 + 0.6 * sticker.v)
    for place, part in places.items():
        scratch(sheet, look, place, partial(_within, span(part)))
    return sheet


def _within(part: tuple[float, float], u: float, v: float) -> tuple[float, float]:
    """A place in a part of the strip, in the strip."""
    start, end = part
    return start + (end - start) * u, 0.15 + 0.7 * v


def _length(points: np.ndarray) -> float:
    """Arc length of the outline in metres."""
    return float(np.hypot(*np.diff(points[:, :2], axis=0).T).sum())


def _glass(sheet: Sheet, look: VehicleLook, span: Callable[..., tuple[float, float]]) -> None:
    """Windscreen with its sun strip, and rear window."""
    start, end = span(look.model.windscreen, 0.05)
    sheet.polygon([(start, 0.05), (end, 0.09), (end, 0.91), (start, 0.95)], shade(look.tint, 0.7), GLASS)
    for v in (0.3, 0.7):
        sheet.polygon(
            [
                (start, v - 0.1),
                (start + (end - start) * 0.55, v - 0.09),
                (start + (end - start) * 0.55, v + 0.09),
                (start, v + 0.1),
            ],
            shade(look.tint, 1.3),
            GLASS,
        )
    sheet.box(start, 0.06, start + (end - start) * 0.16, 0.94, shade(look.tint, 0.45), GLASS)
    if look.sunstrip is not None:
        sheet.box(end - (end - start) * 0.3, 0.08, end, 0.92, look.sunstrip)
    sheet.line([(start, 0.05), (start, 0.95)], BLACK, 3)
    start, end = span(look.model.rear_window, 0.1)
    if look.model.name != "box":
        sheet.polygon([(start, 0.12), (end, 0.08), (end, 0.92), (start, 0.88)], shade(look.tint, 0.8), GLASS)


def _ends(sheet: Sheet, look: VehicleLook, front: float, rear: float, along: np.ndarray) -> None:
    """Grille, lamps and plates at both ends; `front` and `rear` are where bonnet and tail begin."""
    model = look.model
    grille = (BLACK, CHROME, shade(look.paint, 0.6))[look.lamps[0]]
    sheet.box(front * 0.60, 0.3, front * 0.86, 0.7, grille, MATTE if look.lamps[0] != 1 else LAMP)
    for u in (0.66, 0.73, 0.80):
        sheet.line([(front * u, 0.31), (front * u, 0.69)], shade(grille, 0.4), 2)
    sheet.box(front * 0.08, 0.16, front * 0.3, 0.84, BLACK, MATTE)
    inner, bottom = ((0.26, 0.56), (0.22, 0.50), (0.28, 0.64))[look.lamps[0]]
    for flip in (False, True):
        for margin, fill, material in ((0.0, shade(CHROME, 0.35), MATTE), (0.02, HEADLAMP, LAMP)):
            shape = [
                (front * (bottom + 0.1 + margin), 0.03 + margin),
                (front * (0.98 - margin), 0.03 + margin),
                (front * (0.90 - margin), inner - margin),
                (front * (bottom + 0.04 + margin), inner - margin),
            ]
            sheet.polygon([(u, 1 - v if flip else v) for u, v in shape], fill, material)
        v = 0.86 if flip else 0.14
        sheet.ellipse(front * 0.2, v, (4, 6), HEADLAMP, LAMP)
    for u in (front * 0.98, float(along[model.bonnet[1]])):
        sheet.line([(u, 0.04), (u, 0.96)], shade(look.paint, 0.4), 2)
    tail, lamp = 1 - rear, TAIL_LAMPS[look.lamps[1]]
    start, end = (0.10, 0.40) if model.type not in ("truck", "bus", "van") else (0.45, 0.75)
    for flip in (False, True):
        shape = (
            [(start, 0.02), (start, 0.24), (end, 0.20), (end, 0.03)],
            [(start, 0.02), (start, 0.33), (end - 0.12, 0.31), (end, 0.10), (end, 0.03)],
            [(start - 0.08, 0.03), (start - 0.08, 0.14), (end + 0.1, 0.16), (end + 0.1, 0.03)],
        )[look.lamps[1]]
        sheet.polygon([(rear + tail * u, 1 - v if flip else v) for u, v in shape], lamp, LAMP)
    for u, wide_gap in ((0.62, 2), (0.05, 1)):
        sheet.line([(rear + tail * u, 0.06), (rear + tail * u, 0.94)], shade(look.paint, 0.4), wide_gap)
    sheet.box(rear + tail * 0.86, 0.1, 1.0, 0.9, BLACK, MATTE)
    text, fill = look.plate
    wide = 0.52 / model.width
    for start, end, turned in ((front * 0.32, front * 0.5, True), (rear + tail * 0.46, rear + tail * 0.6, False)):
        ink = (0.95, 0.95, 0.95) if sum(fill) < 1.2 else (0.05, 0.05, 0.05)
        sheet.box(start, 0.5 - wide / 2, end, 0.5 + wide / 2, fill, MATTE)
        size = max(4, round((end - start) * ATLAS) - 1), max(4, round(wide * STRIP_HEIGHT) - 2)
        letters = lettering(text, (size[1], size[0]), ink).rotate(-90 if turned else 90, expand=True)
        sheet.paste(letters, (start + end) / 2, 0.5)
