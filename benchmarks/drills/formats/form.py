"""What the drill of damaged inputs knows of a format: whole files of it, and its public reader with what must hold of
everything that it accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drills.damaging import Structure

Reported = Sequence[str]
"""What a reader said of what it left out; empty: it took everything."""


class Unsound(Exception):
    """A reader accepted what it must not accept."""


@dataclass(frozen=True)
class Format:
    """`write` puts whole files into an empty folder and names those of which one is damaged; `read` reads the folder,
    in which the named file is damaged, and raises `Unsound` where what it got cannot be right."""

    name: str
    write: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Path], Reported]
    text: bool = False
    structure: Structure | None = None


def must(sound: bool, what: str) -> None:
    """`Unsound` unless it is."""
    if not sound:
        raise Unsound(what)


def noise(height: int = 48, width: int = 64, *, seed: int = 0) -> Image.Image:
    """A smooth picture, so that files are small and every format keeps it."""
    levels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((width, height))
