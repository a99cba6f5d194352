"""Drawn plates of many countries on drawn vehicles, for measuring what reads them: no claim about any camera.

Texts follow the issuers' published formats and, for a share, none at all (plates that people chose). Around them stands
what stands around real ones: the name of a state, a dealer's frame, badges, telephone numbers. Fonts are those of
matplotlib and of Debian's `fonts-liberation`, the ones for choosing weights others than the ones for reporting.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_OWN = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_DEBIAN = Path("/usr/share/fonts/truetype")
FONTS = {
    "choosing": (
        *(_DEBIAN / "liberation" / f"Liberation{name}.ttf" for name in ("Sans-Bold", "Mono-Bold")),
        _OWN / "DejaVuSans-Bold.ttf",
    ),
    "reporting": (
        *(_DEBIAN / "liberation" / f"Liberation{name}.ttf" for name in ("SansNarrow-Bold", "Sans-Regular")),
        _DEBIAN / "dejavu" / "DejaVuSansCondensed-Bold.ttf",
        _OWN / "DejaVuSansMono-Bold.ttf",
    ),
}
SCALE = 4  # pixels of a drawn plate per centimetre
_CHOSEN = ("GR8 DAD", "MYTOY", "LUV2SKI", "2FAST4U", "NANA 5", "BLK MMBA", "K9 MOM", "GO HAWKS", "1LUVMUD", "JONES 7")


@dataclass(frozen=True)
class Issuer:
    """Who issues plates of one look.

    `formats`: A is a letter, 9 a digit, X either, what follows a backslash itself; a space is a gap, `/` a second line.
    `size`: centimetres. `sure`: letters that the issuer never uses.
    """

    country: str
    formats: tuple[str, ...]
    size: tuple[float, float] = (52.0, 11.0)
    above: str = ""
    below: str = ""
    band: str = ""
    never: str = ""
    chosen: float = 0.0
    colours: tuple[tuple[int, int, int], ...] = ((250, 250, 250),)
    ink: tuple[int, int, int] = (15, 15, 20)


def _states(rows: Sequence[tuple[str, str, str]]) -> tuple[Issuer, ...]:
    looks = ((250, 250, 250), (215, 228, 245), (250, 240, 205), (222, 240, 222))
    inks = ((20, 30, 110), (15, 15, 20), (130, 20, 30), (20, 80, 40))
    return tuple(
        Issuer(
            "us", tuple(formats.split("|")), (30.5, 15.2), above, below, chosen=0.12, colours=looks, ink=inks[at % 4]
        )
        for at, (above, below, formats) in enumerate(rows)
    )


_EU = {"colours": ((250, 250, 250),)}
ISSUERS = {
    "choosing": (
        *_states(
            [
                ("California", "dmv.ca.gov", "9AAA999"),
                ("TEXAS", "The Lone Star State", "AAA 9999"),
                ("FLORIDA", "SUNSHINE STATE", "AAA A99|99A AAA|AA9 9AA"),
                ("Massachusetts", "The Spirit of America", "9AAA 99|999 AA9|9AA A99"),
                ("Illinois", "Land of Lincoln", "AA 99999|A99 9999"),
                ("OREGON", "", "999 AAA"),
            ]
        ),
        Issuer("de", ("A AA 999", "AA A 9999", "AAA AA 99", "AA AA 999"), band="D", **_EU),
        Issuer("gb", ("AA99 AAA",), band="GB", colours=((250, 250, 250), (245, 205, 60)), never="IQ"),
        Issuer("br", ("AAA 9999", "AAA9A99"), (40.0, 13.0), "BRASIL"),
        Issuer("es", ("9999 AAA",), band="E", never="AEIOUQ"),
        Issuer("vn", ("99A/999.99", "99A9/999.99"), (19.0, 14.0)),
        Issuer("ro", ("AA 99 AAA", r"\B 999 AAA"), band="RO", never="Q"),
    ),
    "reporting": (
        *_states(
            [
                ("New York", "EMPIRE STATE", "AAA 9999"),
                ("Missouri", "Show-Me State", "AA9 A9A"),
                ("MARYLAND", "www.maryland.gov", "9AA9999"),
                ("Colorado", "", "AAA A99|AAA 999"),
                ("New Jersey", "Garden State", "A99 AAA"),
                ("INDIANA", "IN GOD WE TRUST", "999A|999AA|999AAA"),
                ("ALABAMA", "Sweet Home", "99AA999|9A9999A"),
                ("Idaho", "Famous Potatoes", "9A 99999|A 999999"),
                ("Tennessee", "The Volunteer State", "A99 99A|AAA 9999"),
                ("NEVADA", "HOME MEANS NEVADA", "999 A99|99A 999"),
                ("Utah", "Life Elevated", "A99 9AA"),
                ("WASHINGTON", "Evergreen State", "AAA9999"),
            ]
        ),
        Issuer("fr", ("AA 999 AA",), band="F", never="IOU"),
        Issuer("it", ("AA 999 AA",), band="I", never="IOQU"),
        Issuer(
            "nl",
            ("99 AAA 9", "9 AAA 99", "A 999 AA", "AA 999 A"),
            band="NL",
            colours=((245, 205, 60),),
            never="ACEIMOQUWY",
        ),
        Issuer("pl", ("AA 99999", "AAA 9999A", "AA 9999A", "AAA AA99"), band="PL", never="Q"),
        Issuer("se", ("AAA 999", "AAA 99A"), band="S", never="IQV"),
        Issuer("be", ("9 AAA 999",), band="B", ink=(130, 20, 40)),
        Issuer("cz", ("9A9 9999",), band="CZ", never="GOQW"),
        Issuer("in", ("AA 99 AA 9999", "AA99/AA9999"), (50.0, 12.0)),
        Issuer("au", ("AAA 99A", "AA 99 AA", "9AA 9AA"), (37.2, 13.4), "NSW", colours=((245, 215, 70),)),
        Issuer("mx", ("AAA 999 A", "AAA 99 99"), (30.0, 15.0), "MEXICO", never="IOQ"),
        Issuer("ca", ("AAAA 999", "AAA 999", "A99 AAA"), (30.5, 15.2), "ONTARIO", "YOURS TO DISCOVER", never="IOQU"),
        Issuer("gb", (r"A\IA 9999", "A99 AAA", "AA99 AAA"), never="Q"),
        Issuer("vn", ("99A 999.99", "99AA/999.99"), (19.0, 14.0)),
        Issuer("tr", ("99 AA 999", "99 AAA 99", "99 A 9999"), band="TR", never="QWX"),
    ),
}


@dataclass(frozen=True)
class DrawnVehicle:
    """A vehicle with one plate, seen several times. `plate_width`: pixels of the plate in each view."""

    country: str
    text: str
    views: tuple[np.ndarray, ...]
    plate_width: tuple[int, ...]
    fits: bool
    """Whether the text follows the issuer's formats; False: somebody chose it."""


def draw_vehicles(part: str, count: int, *, seed: int, views: int = 1, gap: float = 0.0) -> list[DrawnVehicle]:
    """Vehicles of the issuers of a part ("choosing" or "reporting"), in turn. `gap`: the least space between the
    groups, in heights of a letter."""
    issuers = ISSUERS[part]
    return [
        _vehicle(issuers[number % len(issuers)], FONTS[part], np.random.default_rng([seed, number]), views, gap)
        for number in range(count)
    ]


def _vehicle(
    issuer: Issuer, fonts: Sequence[Path], random: np.random.Generator, views: int, gap: float
) -> DrawnVehicle:
    is_chosen = random.random() < issuer.chosen
    written = str(random.choice(_CHOSEN)) if is_chosen else _text(str(random.choice(issuer.formats)), issuer, random)
    plate = _plate(issuer, written, str(random.choice(fonts)), random, gap)
    best = 36 * 3.6 ** random.random()  # pixels of the plate where the vehicle is nearest
    shape = _body(random, str(random.choice(fonts)))
    pictures, widths = zip(
        *(_view(plate, shape, best * random.uniform(0.6, 1.0) if at else best, random) for at in range(views)),
        strict=True,
    )
    text = "".join(sign for sign in written if sign.isalnum())
    return DrawnVehicle(issuer.country, text, pictures, widths, not is_chosen)


def _text(form: str, issuer: Issuer, random: np.random.Generator) -> str:
    letters = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in issuer.never]
    out, quoted = [], False
    for sign in form:
        kind = sign if not quoted else ""
        quoted = sign == "\\" and not quoted
        if quoted:
            continue
        if kind == "X":
            kind = "A" if random.random() < 0.5 else "9"
        out.append(str(random.choice(letters)) if kind == "A" else str(random.integers(10)) if kind == "9" else sign)
    return "".join(out)


def _plate(issuer: Issuer, written: str, font: str, random: np.random.Generator, gap: float) -> np.ndarray:
    """The plate (height, width, 3) RGB with some of what frames it."""
    lines = written.split("/")
    width, height = (round(SCALE * side) for side in issuer.size)
    if len(lines) > 1 and width > 2 * height:
        width, height = round(28 * SCALE), round(20 * SCALE)
    image = Image.new("RGB", (width, height), tuple(random.choice(issuer.colours)))
    pencil = ImageDraw.Draw(image)
    left, top, bottom = 4, 3, height - 3
    if issuer.band:
        band = round(0.09 * width)
        pencil.rectangle((0, 0, band, height), fill=(20, 60, 170))
        small = ImageFont.truetype(font, round(0.28 * height))
        pencil.text((band / 2, 0.75 * height), issuer.band, fill="white", font=small, anchor="mm")
        left = band + 4
    for said, at in ((issuer.above, 0.11), (issuer.below, 0.90)):
        if said:
            small = ImageFont.truetype(font, round(0.15 * height))
            pencil.text((width / 2, at * height), said, fill=issuer.ink, font=small, anchor="mm")
    top, bottom = (top + 0.18 * height if issuer.above else top), (bottom - 0.16 * height if issuer.below else bottom)
    for number, line in enumerate(lines):
        high = (bottom - top) / len(lines)
        _line(
            pencil, line, (left, top + number * high, width - 4, top + (number + 1) * high), font, issuer, random, gap
        )
    pencil.rectangle((0, 0, width - 1, height - 1), outline=issuer.ink, width=2)
    return _framed(np.asarray(image), font, random)


def _line(
    pencil: ImageDraw.ImageDraw,
    line: str,
    box: tuple[float, float, float, float],
    font: str,
    issuer: Issuer,
    random: np.random.Generator,
    gap: float,
) -> None:
    """One line, its groups apart, as large as it fits."""
    groups = line.split(" ")
    x1, y1, x2, y2 = box
    size = 0.86 * (y2 - y1) / 0.74  # capitals are about .74 of a font's size
    apart = max(gap, random.choice((0.2, 0.35, 0.6)))
    while True:
        letters = ImageFont.truetype(font, round(size))
        space = apart * 0.74 * size
        long = sum(pencil.textlength(group, font=letters) for group in groups) + space * (len(groups) - 1)
        if long <= 0.96 * (x2 - x1) or size < 8:
            break
        size *= 0.95
    at = (x1 + x2 - long) / 2
    for number, group in enumerate(groups):
        pencil.text((at, (y1 + y2) / 2), group, fill=issuer.ink, font=letters, anchor="lm")
        at += pencil.textlength(group, font=letters)
        if number + 1 < len(groups) and random.random() < 0.3:  # a seal, a hyphen, the outline of a state
            middle, radius = at + space / 2, min(space / 3, 0.1 * (y2 - y1))
            where = (middle - radius, (y1 + y2) / 2 - radius, middle + radius, (y1 + y2) / 2 + radius)
            pencil.ellipse(where, fill=tuple(random.choice(((40, 110, 60), (170, 60, 50), (60, 60, 60)))))
        at += space


def _framed(plate: np.ndarray, font: str, random: np.random.Generator) -> np.ndarray:
    """In a dark holder, at times with a dealer's words."""
    height, width = plate.shape[:2]
    dealer = random.random() < 0.35
    edge, below = 6, round(0.17 * height) if dealer else 6
    image = Image.new("RGB", (width + 2 * edge, height + edge + below), (25, 25, 28))
    image.paste(Image.fromarray(plate), (edge, edge))
    if dealer:
        words = str(random.choice(("SMITH MOTORS", "autohaus-wagner.de", "CITY CARS 01632 960123", "www.bestcars.com")))
        letters = ImageFont.truetype(font, round(0.13 * height))
        where = (image.width / 2, image.height - below / 2)
        ImageDraw.Draw(image).text(where, words, fill=(225, 225, 225), font=letters, anchor="mm")
    return np.asarray(image)


def _body(random: np.random.Generator, font: str) -> Image.Image:
    """The tail of a vehicle, 180 cm wide, without its plate."""
    width, height = round(185 * SCALE), round(140 * SCALE)
    paint = tuple(int(value) for value in random.integers(20, 235, 3))
    image = Image.new("RGB", (width, height), paint)
    pencil = ImageDraw.Draw(image)
    pencil.rectangle((0.12 * width, 0.05 * height, 0.88 * width, 0.36 * height), fill=(35, 45, 55))
    lamps = tuple(random.choice(((170, 20, 20), (230, 230, 235))))
    for x in (0.03, 0.85):
        pencil.rectangle((x * width, 0.42 * height, (x + 0.12) * width, 0.58 * height), fill=lamps)
    pencil.rectangle((0, 0.80 * height, width, height), fill=(45, 45, 48))
    for words, size, x, y in (
        (("4MATIC", "TDI", "HYBRID", "S500", "320d"), 9, 0.80, 0.66),
        (("TOYOTA", "COROLLA", "A4", "GOLF", "C200"), 9, 0.20, 0.66),
        (("0800 555 123", "PLUMBING 24H", "TEL 0912345678", "BABY ON BOARD"), 11, 0.50, 0.28),
    ):
        if random.random() < 0.4:
            letters = ImageFont.truetype(font, size * SCALE)
            said = str(random.choice(words))
            pencil.text((x * width, y * height), said, fill=(210, 210, 210), font=letters, anchor="mm")
    return image


def _view(
    plate: np.ndarray, body: Image.Image, plate_width: float, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """The vehicle from somewhere: turned, reduced, blurred, lit, noisy, and as a JPEG."""
    vehicle = body.copy()
    place = (round((vehicle.width - plate.shape[1]) / 2), round(0.70 * vehicle.height - plate.shape[0] / 2))
    vehicle.paste(Image.fromarray(plate), place)
    pixels = np.asarray(vehicle)
    factor = plate_width / plate.shape[1]
    width, height = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * [pixels.shape[1], pixels.shape[0]]
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * [width, height]
    target += random.uniform(-0.07, 0.07, (4, 2)) * [width, height]
    target[:, 1] += (target[:, 0] - width / 2) * np.tan(np.radians(random.uniform(-8, 8)))
    target -= target.min(axis=0)
    size = tuple(int(side) for side in np.ceil(target.max(axis=0)))
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target.astype(np.float32))
    reduced = cv2.GaussianBlur(pixels, (0, 0), max(0.3, 0.4 / factor))  # what a lens and a sensor average over
    picture = cv2.warpPerspective(reduced, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    blur = random.uniform(0.0, 1.2)
    picture = cv2.GaussianBlur(picture, (0, 0), blur) if blur > 0.2 else picture
    if random.random() < 0.3:
        kernel = np.zeros((1, int(random.integers(2, 5))), np.float32)
        kernel[:] = 1 / kernel.size
        picture = cv2.filter2D(picture, -1, kernel if random.random() < 0.7 else kernel.T)
    light = picture.astype(np.float32) * random.uniform(0.35, 1.15) + random.uniform(-10, 30)
    light += random.normal(0, random.uniform(1, 9), light.shape)
    stored = io.BytesIO()
    Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(stored, "JPEG", quality=int(random.integers(35, 92)))
    return np.asarray(Image.open(stored).convert("RGB")), round(plate_width)
