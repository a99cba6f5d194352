"""What one vehicle looks like: its model, its paint and the marks that only it bears.

Look-alikes are planned: a group of two to four identities shares model and paint and differs in marks alone.
"""

from __future__ import annotations

import colorsys
import dataclasses
from dataclasses import dataclass

import numpy as np

from reid_lightning.data.readers.veri import COLOURS
from reid_lightning.synthetic.fleet.bodies import VehicleModel
from reid_lightning.synthetic.fleet.models import MODELS

Colour = tuple[float, float, float]
"""sRGB, each channel 0 to 1."""

_PAINTS: tuple[tuple[str, Colour, float], ...] = (
    ("white", (0.90, 0.90, 0.89), 3.0),
    ("black", (0.06, 0.06, 0.07), 2.4),
    ("gray", (0.38, 0.39, 0.41), 1.5),
    ("gray", (0.68, 0.69, 0.71), 2.4),
    ("red", (0.66, 0.08, 0.09), 1.0),
    ("blue", (0.10, 0.20, 0.50), 1.0),
    ("brown", (0.32, 0.22, 0.16), 0.6),
    ("golden", (0.68, 0.60, 0.44), 0.6),
    ("yellow", (0.88, 0.72, 0.10), 0.5),
    ("orange", (0.85, 0.38, 0.08), 0.4),
    ("green", (0.10, 0.34, 0.20), 0.5),
)
_ACCENTS: tuple[Colour, ...] = (
    (0.92, 0.92, 0.92),
    (0.04, 0.04, 0.05),
    (0.80, 0.06, 0.08),
    (0.05, 0.22, 0.70),
    (0.95, 0.78, 0.05),
    (0.02, 0.50, 0.22),
    (0.95, 0.42, 0.02),
    (0.10, 0.62, 0.82),
    (0.62, 0.12, 0.52),
)
_TINTS: tuple[Colour, ...] = ((0.05, 0.06, 0.07), (0.16, 0.19, 0.20), (0.10, 0.18, 0.26), (0.22, 0.17, 0.11))
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
PANELS = {
    "roof": 0.26,
    "bonnet": 0.15,
    "boot": 0.15,
    "front door": 0.12,
    "rear door": 0.12,
    "wing": 0.08,
    "bumpers": 0.2,
}
"""Panels that may have another colour, and how often each has."""
CHARTS = ("left", "right", "roof", "bonnet", "tail")
RACKS = ("bars", "box", "sign", "ladder", "luggage", "light bar")


@dataclass(frozen=True, slots=True)
class Sticker:
    """A decal: `place` is one of CHARTS, (u, v) its centre in it (0 to 1), `size` in metres, `shape` 0 to 5."""

    place: str
    u: float
    v: float
    size: float
    shape: int
    colour: Colour
    second: Colour


@dataclass(frozen=True, slots=True)
class VehicleLook:
    """Everything that is drawn of one identity; None or () where it has no such mark."""

    model: VehicleModel
    colour: str
    paint: Colour
    panels: tuple[tuple[str, Colour], ...]
    band: tuple[float, float, Colour] | None
    stripes: tuple[int, float, float, Colour] | None
    stickers: tuple[Sticker, ...]
    rack: tuple[str, Colour] | None
    rim: tuple[int, Colour]
    tint: Colour
    sunstrip: Colour | None
    scratches: tuple[tuple[str, float, float, float], ...]
    plate: tuple[str, Colour]
    lamps: tuple[int, int]
    cladding: Colour | None
    mirrors: Colour | None
    load: Colour
    dirt: float

    @property
    def colour_id(self) -> int:
        """VeRi's 1-based number of the colour."""
        return COLOURS.index(self.colour) + 1


def group_sizes(random: np.random.Generator, total: int) -> list[int]:
    """Cut `total` identities into groups of look-alikes of one to four."""
    sizes: list[int] = []
    while (left := total - sum(sizes)) > 0:
        sizes.append(min(left, int(random.choice((1, 2, 3, 4), p=(0.16, 0.34, 0.32, 0.18)))))
    return sizes


def fleet_looks(seed: int, split: int, identities: list[int]) -> dict[int, VehicleLook]:
    """The looks of a split's identities; a pure function of its arguments."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 2, split]))
    order = [int(i) for i in random.permutation(identities)]
    weights = np.array([model.weight for model in MODELS])
    paint_weights = np.array([weight for _, _, weight in _PAINTS])
    looks: dict[int, VehicleLook] = {}
    for size in group_sizes(random, len(order)):
        model = MODELS[int(random.choice(len(MODELS), p=weights / weights.sum()))]
        colour, base, _ = _PAINTS[int(random.choice(len(_PAINTS), p=paint_weights / paint_weights.sum()))]
        hue, light, saturation = colorsys.rgb_to_hls(*base)
        shade = colorsys.hls_to_rgb(
            (hue + random.normal(0, 0.008)) % 1,
            float(np.clip(light * random.uniform(0.9, 1.1), 0.03, 0.95)),
            saturation,
        )
        for identity in order[len(looks) : len(looks) + size]:
            own = np.random.default_rng(np.random.SeedSequence([seed, 3, split, identity]))
            looks[identity] = _draw_look(own, model, colour, shade)
    return looks


def _draw_look(random: np.random.Generator, model: VehicleModel, colour: str, paint: Colour) -> VehicleLook:
    """Draw the marks of one identity."""

    def accent() -> Colour:
        """An accent that can be distinguished from the paint."""
        while True:
            candidate = _ACCENTS[int(random.integers(len(_ACCENTS)))]
            if sum(abs(a - b) for a, b in zip(candidate, paint, strict=True)) > 0.6:
                return candidate

    def chance(probability: float) -> bool:
        return bool(random.random() < probability)

    livery, second = accent(), accent()

    def either() -> Colour:
        """Mostly the livery: a vehicle's marks belong together, so that front and rear hint at one another."""
        return livery if chance(0.7) else second

    panels = tuple((panel, either()) for panel, share in PANELS.items() if chance(share))
    band = None
    if chance(0.42):
        low = float(random.uniform(0.22, 0.46))
        band = (low, low + float(random.uniform(0.1, 0.2)), either())
    stripes = None
    if chance(0.36):
        stripes = (
            int(random.integers(3)),
            float(random.uniform(0.14, 0.26)),
            float(random.uniform(-0.4, 0.4)),
            either(),
        )
    stickers: list[Sticker] = []
    for _ in range(int(random.integers(1, 4))):
        place = CHARTS[int(random.choice(len(CHARTS), p=(0.3, 0.1, 0.25, 0.15, 0.2)))]
        ink = either()
        sticker = Sticker(
            place=place,
            u=float(random.uniform(0.15, 0.85)),
            v=float(random.uniform(0.15, 0.85)),
            size=float(random.uniform(0.45, 0.9)),
            shape=int(random.integers(6)),
            colour=ink,
            second=second if ink == livery else livery,
        )
        stickers.append(sticker)
        if place == "left" and chance(0.75):
            stickers.append(dataclasses.replace(sticker, place="right"))
    rack = None
    if model.type not in ("truck", "bus") and chance(0.5):
        rack = (RACKS[int(random.integers(len(RACKS)))], either() if chance(0.75) else (0.12, 0.12, 0.13))
    rims: tuple[Colour, ...] = ((0.72, 0.73, 0.75), (0.10, 0.10, 0.11), (0.92, 0.92, 0.92), (0.66, 0.50, 0.2), livery)
    scratches = tuple(
        (CHARTS[int(random.integers(len(CHARTS)))], random.random(), random.random(), random.random())
        for _ in range(int(random.integers(0, 4)))
    )
    text = "".join(_LETTERS[int(random.integers(len(_LETTERS)))] for _ in range(2))
    text += "".join(str(int(random.integers(10))) for _ in range(4))
    plates: tuple[Colour, ...] = ((0.05, 0.16, 0.55), (0.92, 0.75, 0.1), (0.92, 0.92, 0.92), (0.35, 0.75, 0.45))
    return VehicleLook(
        model=model,
        colour=colour,
        paint=paint,
        panels=panels,
        band=band,
        stripes=stripes,
        stickers=tuple(stickers),
        rack=rack,
        rim=(int(random.integers(5)), rims[int(random.choice(len(rims), p=(0.42, 0.22, 0.12, 0.08, 0.16)))]),
        tint=_TINTS[int(random.integers(len(_TINTS)))],
        sunstrip=either() if chance(0.3) else None,
        scratches=scratches,
        plate=(text, plates[int(random.choice(4, p=(0.6, 0.15, 0.15, 0.1)))]),
        lamps=(int(random.integers(3)), int(random.integers(3))),
        cladding=((0.07, 0.07, 0.08) if chance(0.6) else livery) if chance(0.3) else None,
        mirrors=either() if chance(0.25) else None,
        load=_ACCENTS[int(random.integers(len(_ACCENTS)))] if chance(0.6) else (0.45, 0.38, 0.3),
        dirt=float(random.uniform(0, 0.8)),
    )
