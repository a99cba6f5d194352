"""The few pictures of a track worth keeping: large, sharp, unhidden, whole, and spread over the time it was seen.

Memory is bounded by the number kept, however long the track is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.records import Frame, TrackedBox

with extra("search"):
    import cv2


_GOOD_SIDE = 224  # pixels of the shorter side from which more adds nothing: what embedding models see
_SHARPNESS_SIDE = 96  # crops are compared at this size
_SHARP = 300.0  # variance of the Laplacian at which a crop is half way to perfectly sharp
_CUT = 0.5  # what is left of the quality of a vehicle that the frame cuts off
_EDGE = 2.0  # pixels from the frame's edge that count as touching it


@dataclass(frozen=True)
class KeptCrop:
    """A picture of a vehicle: (height, width, 3) uint8 RGB, its own copy; where and when it was cut out (the box is the
    detector's, without the margin); quality from 0 to 1."""

    picture: np.ndarray
    frame: int
    seconds: float
    box: np.ndarray
    score: float
    quality: float


class BestCrops:
    """The best pictures of one track.

    Frames fall into slices of time, of which each keeps its best picture. When there are twice as many pictures as
    wanted, neighbouring slices are joined and slices are twice as long from then on: so the pictures are spread over
    the track although nobody knows how long it is going to be. At the end the best of them are given out.

    Args:
        keep: pictures to keep.
        margin: share of the box's sides added around it.

    Raises:
        ReIDError: `keep` below 1 or `margin` below 0.
    """

    def __init__(self, *, keep: int = 5, margin: float = 0.05) -> None:
        if keep < 1 or margin < 0:
            raise ReIDError(f"keep is {keep} and margin {margin}; expected at least 1 and 0.")
        self._keep, self._margin = keep, margin
        self._slices: dict[int, KeptCrop] = {}
        self._frames_each = 1

    def add(self, frame: Frame, tracked: TrackedBox, others: Sequence[np.ndarray] = ()) -> None:
        """One more frame of the track; `others` are the boxes (4,) of all other vehicles in it."""
        pixels = frame.crop(tracked.box, margin=self._margin)
        quality = crop_quality(frame, tracked.box, others)
        key = frame.number // self._frames_each
        present = self._slices.get(key)
        if present is not None and present.quality >= quality:
            return
        self._slices[key] = KeptCrop(
            pixels.copy(), frame.number, frame.seconds, tracked.box.copy(), tracked.score, quality
        )
        while len(self._slices) > 2 * self._keep:
            self._join_slices()

    def best(self) -> list[KeptCrop]:
        """At most `keep` pictures, in the order of time; one at least if any was added."""
        by_quality = sorted(self._slices.values(), key=lambda crop: (-crop.quality, crop.frame))
        apart: list[KeptCrop] = []
        close: list[KeptCrop] = []  # neighbours over the border of two slices
        for crop in by_quality:
            near = any(2 * abs(crop.frame - other.frame) < self._frames_each for other in apart)
            (close if near else apart).append(crop)
        return sorted([*apart, *close][: self._keep], key=lambda crop: crop.frame)

    def _join_slices(self) -> None:
        self._frames_each *= 2
        joined: dict[int, KeptCrop] = {}
        for crop in self._slices.values():
            key = crop.frame // self._frames_each
            present = joined.get(key)
            if present is None or crop.quality > present.quality:
                joined[key] = crop
        self._slices = joined


def crop_quality(frame: Frame, box: np.ndarray, others: Sequence[np.ndarray] = ()) -> float:
    """How good a picture of the vehicle in `box` the frame gives, from 0 to 1: size x sharpness x visibility x
    wholeness.

    Size is the shorter side over 224 pixels, at most 1; sharpness v / (v + 300), v the variance of the Laplacian of the
    grey crop at 96 pixels a side; visibility the share of the box that no other box covers from in front, which is one
    whose lower edge is lower; wholeness 1, or .5 where the box touches the frame's edge.
    """
    height, width = frame.picture.shape[:2]
    x1, y1, x2, y2 = (float(value) for value in box)
    size = min(1.0, min(x2 - x1, y2 - y1) / _GOOD_SIDE)
    cut = x1 < _EDGE or y1 < _EDGE or x2 > width - _EDGE or y2 > height - _EDGE
    return size * sharpness(frame.crop(box)) * visible_share(box, others) * (_CUT if cut else 1.0)


def sharpness(picture: np.ndarray) -> float:
    """From 0 (flat) to 1, the same for a crop of any size that shows the same detail at 96 x 96 pixels."""
    side = _SHARPNESS_SIDE
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    variance = float(cv2.Laplacian(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
    return variance / (variance + _SHARP)


def visible_share(box: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """The share of `box` (4,) that no box of `others` covers whose lower edge is lower in the picture.

    Counted on a grid of 32 x 32 points, so that overlapping ones count once.
    """
    x1, y1, x2, y2 = box
    steps = (np.arange(32) + 0.5) / 32
    columns, rows = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
    hidden = np.zeros((32, 32), bool)
    for left, top, right, bottom in others:
        if bottom > y2 and left < x2 and right > x1 and top < y2:
            hidden |= ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))
    return 1.0 - float(hidden.mean())
