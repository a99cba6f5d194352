"""Fonts to draw names of vehicles with: Pillow's own, and one of the system's for signs that Pillow's does not have."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

from reid_lightning.errors import ReIDError

_WITH_MANY_SCRIPTS = (  # Linux, Windows, macOS; Pillow looks for them where the system keeps its fonts
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "Arial Unicode.ttf",
    "STHeiti Light.ttc",
)
_LATIN_ENDS = 0x250  # Latin with all its accents


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Pillow's font; for other scripts (Chinese plates begin with 京) a system's font that has them, if there is one:
    else these signs become empty squares."""
    return own_font(size) if all(ord(sign) < _LATIN_ENDS for sign in text) else _of_system(size) or own_font(size)


def fitted(text: str, size: int, width: float) -> str:
    """The text, or as much of its beginning and its end as fits into `width` pixels, with dots between."""
    font, kept = font_for(text, size), len(text)
    shown = text
    while kept > 0 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    return shown


def plain_text(text: str) -> str:
    """In one line and without signs that cannot be seen."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


@lru_cache(maxsize=16)
def _of_system(size: int) -> ImageFont.FreeTypeFont | None:
    for name in _WITH_MANY_SCRIPTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most `width` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@lru_cache(maxsize=16)
def own_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font. ReIDError where Pillow was built without FreeType."""
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ReIDError("this Pillow has no FreeType, which text in pictures needs; install Pillow's own wheel.")
    return font


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of its beginning as fits into `width` pixels, with dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
