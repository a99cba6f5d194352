"""Whatever moves before a fixed camera, found without any weights: the default where nothing can be downloaded.

Background subtraction (Zivkovic, ICPR 2004; OpenCV's MOG2). People and shaking trees move, too: see the limits.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.records import UNKNOWN_TYPE, Detections
from reid_lightning.search.video.detectors.duplicates import clean

with extra("search"):
    import cv2
    from supervision import OverlapMetric, box_iou_batch


_MOVING = 255  # MOG2's mark; shadows are 127
_LEARNING_RATE = 0.003  # share of a frame in the background, once that is known
_BACKGROUND_SHARE = 0.9  # of what a pixel has shown; less, and swaying trees move
_STILL_FRAMES = 12  # what stands still for fewer is never background, however short the clip has been so far
_INSIDE = 0.6  # share of a region's box inside a larger one from which it is a part of the same vehicle


@dataclass
class MotionDetector:
    """Moving things of a vehicle's size and shape; their type is unknown. For fixed cameras only.

    Args:
        long_side: pixels that frames are scaled down to before looking for motion.
        min_area: smallest box that counts, as a share of the frame's area.
        max_area: largest one; more moves when the light changes or the camera shakes.
        max_aspect: how many times longer than high, or higher than long, a box may be.
        warm_up: frames at the start that only teach what the background looks like.
        sensitivity: smaller sees fainter differences: squared distance, in standard deviations, from which a pixel is
            no background.
    """

    name: ClassVar = "motion"
    works_on_pictures: ClassVar = False
    knows_vehicles: ClassVar = False
    side_by_side: ClassVar = 1

    _: KW_ONLY
    long_side: int = 480
    min_area: float = 0.002
    max_area: float = 0.6
    max_aspect: float = 4.0
    warm_up: int = 5
    sensitivity: float = 25.0

    def __post_init__(self) -> None:
        if self.long_side < 32 or self.warm_up < 1 or self.max_aspect < 1 or self.sensitivity <= 0:
            raise ReIDError(
                f"long_side is {self.long_side}, warm_up {self.warm_up}, max_aspect {self.max_aspect}, sensitivity "
                f"{self.sensitivity}; expected at least 32, 1 and 1, and above 0."
            )
        if not 0 < self.min_area < self.max_area <= 1:
            raise ReIDError(
                f"min_area is {self.min_area} and max_area {self.max_area}; expected shares of the frame, the first "
                "one smaller."
            )
        self.start()

    def start(self) -> None:
        """A new source begins: its background has to be learned."""
        self._subtractor = cv2.createBackgroundSubtractorMOG2(varThreshold=self.sensitivity, detectShadows=True)
        self._seen = 0
        self._size: tuple[int, int] | None = None

    def detect(self, picture: np.ndarray) -> Detections:
        """See `Detector.detect`; the score says which share of the box moves, from .5 (nothing) to 1."""
        height, width = picture.shape[:2]
        if self._size not in (None, (width, height)):
            self.start()
        self._size = (width, height)
        scale = min(1.0, self.long_side / max(width, height))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        frame = cv2.resize(picture, small, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        self._seen += 1
        # the first frames count alike: a short clip has no time for the usual hundreds
        self._subtractor.setBackgroundRatio(float(np.clip(1 - _STILL_FRAMES / self._seen, 0.1, _BACKGROUND_SHARE)))
        mask = self._subtractor.apply(frame, learningRate=max(1 / self._seen, _LEARNING_RATE))
        if self._seen <= self.warm_up:
            return Detections.none()
        boxes, scores = self._boxes(_smooth(mask))
        stretch = np.array([width / small[0], height / small[1]] * 2, np.float32)
        return clean(Detections(boxes * stretch, scores, (UNKNOWN_TYPE,) * len(scores)), width, height)

    def _boxes(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) and scores (N,) of the connected regions of `mask`."""
        most = -(-mask.shape[0] // 2) * -(-mask.shape[1] // 2)  # regions that do not touch each other
        labels = cv2.CV_16U if most < 1 << 16 else cv2.CV_32S
        _, _, statistics, _ = cv2.connectedComponentsWithStats(mask, ltype=labels)
        left, top, width, height, moving = statistics[1:].T.astype(np.float32)  # 0 is the background
        area = width * height
        shape = np.maximum(width, height) <= self.max_aspect * np.minimum(width, height)
        kept = shape & (area >= self.min_area * mask.size) & (area <= self.max_area * mask.size)
        kept = np.flatnonzero(kept)[np.argsort(-area[kept], kind="stable")]
        boxes = np.stack([left, top, left + width, top + height], axis=1)[kept]
        inside = np.triu(box_iou_batch(boxes, boxes, OverlapMetric.IOS), 1).max(axis=0, initial=0) > _INSIDE
        return boxes[~inside], 0.5 + 0.5 * (moving / area)[kept][~inside]


def _smooth(mask: np.ndarray) -> np.ndarray:
    """What moves, without shadows, specks and holes; uint8 0 or 255."""
    moving = cv2.threshold(mask, _MOVING - 1, _MOVING, cv2.THRESH_BINARY)[1]
    side = max(mask.shape)
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, _disc(side / 160))
    return cv2.morphologyEx(moving, cv2.MORPH_CLOSE, _disc(side / 40))


def _disc(diameter: float) -> np.ndarray:
    size = 2 * round(diameter / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
