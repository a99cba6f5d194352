"""What reads plates: the protocol, what it gives, and the reader that reads nothing.

The rest of the search side knows only this, so that another OCR is one class and one YAML file away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates.patterns import ANY, PlatePatterns


@dataclass(frozen=True)
class PlateReading:
    """A text on a picture: normalised (`normalise`), with a confidence from 0 to 1.

    `box` is x1, y1, x2, y2 in pixels of the picture that was read.
    """

    text: str
    confidence: float
    box: tuple[float, float, float, float]


class PlateReader(Protocol):
    """Reads what may be plates on the picture of one vehicle."""

    name: str
    patterns: PlatePatterns
    """What plates look like here; `vote` wants to know it, too."""

    def read(self, picture: np.ndarray) -> list[PlateReading]:
        """The texts on a picture (height, width, 3) uint8 RGB that may be its plate, best first; often none."""
        ...


@runtime_checkable
class SelectiveReader(PlateReader, Protocol):
    """One that knows, for next to nothing, which pictures are not worth reading."""

    def may_hold_plate(self, picture: np.ndarray) -> bool:
        """Whether a picture (height, width, 3) uint8 RGB of a vehicle is large and sharp enough for a legible plate."""
        ...


class NoPlateReader:
    """Reads nothing: every vehicle gets an `unknown-` name, and no time is spent."""

    name = "none"
    patterns = ANY

    def read(self, picture: np.ndarray) -> list[PlateReading]:
        """No text, whatever the picture."""
        return []


def check_picture(picture: np.ndarray) -> None:
    """Raise ReIDError unless `picture` is (height, width, 3) uint8 with at least one pixel."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise ReIDError(
            f"a picture of shape {picture.shape} and type {picture.dtype} came to the plate reader; expected "
            "(height, width, 3) uint8, RGB."
        )
