"""The brush: a chart whose colour and material are drawn together, and the decals, letters and scratches put on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from reid_lightning.synthetic.fleet.look import Colour, Sticker, VehicleLook
from reid_lightning.synthetic.fleet.mesh import ATLAS, SIDES, STRIP

MATTE, PAINT, GLASS, LAMP = 0, 85, 170, 255
"""Materials as grey values of the second layer."""

SIDE_HEIGHT = SIDES[0][1] - SIDES[0][0]
STRIP_HEIGHT = STRIP[1] - STRIP[0]
BLACK: Colour = (0.05, 0.05, 0.055)
CHROME: Colour = (0.70, 0.71, 0.72)
HEADLAMP: Colour = (0.86, 0.88, 0.90)
TAIL_LAMPS: tuple[Colour, ...] = ((0.62, 0.03, 0.04), (0.40, 0.02, 0.03), (0.75, 0.16, 0.10))


@dataclass
class Sheet:
    """A chart under the brush: colour and material drawn together, points given in the chart's own fractions."""

    colour: Image.Image
    material: Image.Image
    mirrored: bool = False

    def __post_init__(self) -> None:
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.material)

    def point(self, u: float, v: float) -> tuple[float, float]:
        """Pixel of a fraction; u is turned around on the side that the driver does not sit on."""
        return (1 - u if self.mirrored else u) * (self.colour.width - 1), v * (self.colour.height - 1)

    def polygon(self, points: list[tuple[float, float]], fill: Colour, material: int = PAINT) -> None:
        """Fill a polygon."""
        pixels = [self.point(u, v) for u, v in points]
        self._pens[0].polygon(pixels, fill=to_bytes(fill))
        self._pens[1].polygon(pixels, fill=material)

    def box(self, u0: float, v0: float, u1: float, v1: float, fill: Colour, material: int = PAINT) -> None:
        """Fill a rectangle."""
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], fill, material)

    def line(self, points: list[tuple[float, float]], fill: Colour, width: int = 2) -> None:
        """A thin line; the material below stays."""
        self._pens[0].line([self.point(u, v) for u, v in points], fill=to_bytes(fill), width=width)

    def ellipse(self, u: float, v: float, radii: tuple[float, float], fill: Colour, material: int = PAINT) -> None:
        """Fill an ellipse with radii in pixels."""
        x, y = self.point(u, v)
        box = (x - radii[0], y - radii[1], x + radii[0], y + radii[1])
        self._pens[0].ellipse(box, fill=to_bytes(fill))
        self._pens[1].ellipse(box, fill=material)

    def paste(self, patch: Image.Image, u: float, v: float) -> None:
        """Put a decal with transparency onto the chart, centred."""
        x, y = self.point(u, v)
        self.colour.paste(patch, (round(x - patch.width / 2), round(y - patch.height / 2)), patch)


def to_bytes(colour: Colour) -> tuple[int, int, int]:
    """sRGB fractions to bytes."""
    red, green, blue = (round(255 * min(max(channel, 0.0), 1.0)) for channel in colour)
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """A darker or lighter tone."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def blank(look: VehicleLook, height: int, mirrored: bool = False) -> Sheet:
    """An empty chart in the vehicle's paint."""
    return Sheet(
        Image.new("RGB", (ATLAS, height), to_bytes(look.paint)), Image.new("L", (ATLAS, height), PAINT), mirrored
    )


def decal(sticker: Sticker, metre: tuple[float, float]) -> Image.Image:
    """A sticker as a picture with transparency, `metre` being pixels a metre along and across."""
    side = 64
    patch = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(patch)
    one, two = to_bytes(sticker.colour), to_bytes(sticker.second)
    if sticker.shape == 0:
        pen.ellipse((1, 1, 62, 62), fill=one)
        pen.ellipse((18, 18, 45, 45), fill=two)
    elif sticker.shape == 1:
        pen.rectangle((1, 8, 62, 55), fill=one)
        pen.rectangle((1, 25, 62, 38), fill=two)
    elif sticker.shape == 2:
        pen.polygon([(32, 1), (62, 60), (2, 60)], fill=one)
    elif sticker.shape == 3:
        pen.rectangle((1, 1, 62, 62), fill=two)
        for x in (1, 32):
            pen.rectangle((x, 32 - x + 1, x + 30, 63 - x), fill=one)
    elif sticker.shape == 4:
        pen.polygon([(1, 16), (40, 16), (40, 2), (62, 32), (40, 61), (40, 47), (1, 47)], fill=one)
    else:
        pen.polygon([(20, 1), (43, 1), (62, 20), (62, 43), (43, 62), (20, 62), (1, 43), (1, 20)], fill=one)
        pen.rectangle((14, 26, 49, 37), fill=two)
    long = sticker.size * (1.25 if sticker.shape in (1, 4) else 1.0)
    return patch.resize((max(3, round(long * metre[0])), max(3, round(sticker.size * metre[1]))), Image.Resampling.BOX)


def scratch(sheet: Sheet, look: VehicleLook, place: str, at: Callable[[float, float], tuple[float, float]]) -> None:
    """Dents and scratches: a dark dent with a bright rim, or a long bare line."""
    for where, u, v, kind in look.scratches:
        if where != place:
            continue
        x, y = at(u, v)
        if kind < 0.5:
            sheet.ellipse(x, y, (20, 13), shade(look.paint, 1.35))
            sheet.ellipse(x, y + 0.02, (18, 10), shade(look.paint, 0.35), MATTE)
        else:
            ink = (0.8, 0.8, 0.8) if sum(look.paint) < 1.5 else (0.2, 0.12, 0.1)
            sheet.line([(x - 0.07, y), (x + 0.02, y + 0.05), (x + 0.08, y + 0.03)], ink, 4)


def lettering(text: str, size: tuple[int, int], ink: Colour) -> Image.Image:
    """Text as a picture of exactly `size`."""
    font = ImageFont.load_default(size=20)
    box = font.getbbox(text)
    patch = Image.new("RGBA", (int(box[2]) + 2, int(box[3]) + 2), (0, 0, 0, 0))
    ImageDraw.Draw(patch).text((0, 0), text, fill=to_bytes(ink), font=font)
    return patch.resize(size, Image.Resampling.BOX)
