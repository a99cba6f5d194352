"""The browser tab's icon, drawn: one by name or emoji would be fetched from a server on the internet."""

from __future__ import annotations

from functools import cache

from PIL import Image, ImageDraw

_SIDE = 64
_BLUE, _LIGHT, _DARK = (31, 119, 180), (225, 235, 245), (45, 45, 45)


@cache
def car_icon() -> Image.Image:
    """A car from the side, 64 x 64 pixels."""
    icon = Image.new("RGBA", (_SIDE, _SIDE))
    draw = ImageDraw.Draw(icon)
    draw.polygon([(16, 30), (24, 16), (42, 16), (50, 30)], fill=_BLUE)
    draw.polygon([(21, 29), (26, 20), (32, 20), (32, 29)], fill=_LIGHT)
    draw.polygon([(35, 29), (35, 20), (40, 20), (45, 29)], fill=_LIGHT)
    draw.rounded_rectangle((4, 29, 60, 46), radius=6, fill=_BLUE)
    for middle in (18, 46):
        draw.ellipse((middle - 8, 38, middle + 8, 54), fill=_DARK)
        draw.ellipse((middle - 3, 43, middle + 3, 49), fill=_LIGHT)
    return icon
