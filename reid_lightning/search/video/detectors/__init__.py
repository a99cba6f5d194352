"""What finds vehicles in a frame, behind one small protocol.

Each detector lives in its own module with what it imports. Which one: `conf/detector/`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from reid_lightning.search.records import Detections


class Detector(Protocol):
    """Finds vehicles. Boxes come back inside the frame, one for each vehicle, in descending order of the score."""

    name: str
    """Which detector with which weights: it goes into the sidecars."""
    works_on_pictures: bool
    """False: it compares the frames of a video before a camera that stands still, and finds nothing in a picture."""
    knows_vehicles: bool
    """Whether a vehicle model confirms what it finds. False: whatever it is that moves."""

    side_by_side: int
    """Frames that it may look at at a time, in as many threads, because it remembers none. A detector that does not
    say it is given one after the other."""

    def start(self) -> None:
        """A new source begins: forget what was seen."""

    def detect(self, picture: np.ndarray) -> Detections:
        """The vehicles in `picture`, (height, width, 3) uint8 RGB."""
