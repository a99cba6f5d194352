"""Clean boxes: inside the frame, and one for each vehicle, whatever a detector says about it.

A van is a car and a truck at once to a detector that suppresses overlaps type by type.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid_lightning.search.records import Detections

_CONTAINED = 0.85  # of the smaller box's area inside the other one: the same vehicle ...
_COMPARABLE = 0.5  # ... unless it is smaller than this share of it: a car in front of a bus


def clean(detections: Detections, width: int, height: int, *, overlap: float = 0.6) -> Detections:
    """`inside_frame`, then `merge_duplicates`: every detector's last step."""
    return merge_duplicates(inside_frame(detections, width, height), overlap=overlap)


def inside_frame(detections: Detections, width: int, height: int) -> Detections:
    """Boxes cut at the edges of a frame of `width` x `height` pixels; those with less than a pixel left are dropped,
    and so are boxes and scores that are no numbers."""
    limits = np.array([width, height, width, height], np.float32)
    boxes = np.clip(detections.boxes, 0, limits).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    finite = np.isfinite(detections.boxes).all(1) & np.isfinite(detections.scores)
    return Detections(boxes, detections.scores, detections.types)[np.flatnonzero(finite & (sides >= 1).all(1))]


def merge_duplicates(detections: Detections, *, overlap: float = 0.6) -> Detections:
    """One box for each vehicle, of any type: the one with the highest score, in descending order of scores.

    A box goes if its intersection over union with a better one is above `overlap`, or if the smaller of the two lies in
    the other (intersection over the smaller area above .85) and is at least half as large.
    """
    order = np.argsort(-detections.scores, kind="stable")
    shared, areas = intersections(detections.boxes, detections.boxes), box_areas(detections.boxes)
    smaller, larger = np.minimum.outer(areas, areas), np.maximum.outer(areas, areas)
    same = shared > overlap * (smaller + larger - shared)
    same |= (shared > _CONTAINED * smaller) & (smaller > _COMPARABLE * larger)
    kept: list[int] = []
    for row in order:
        if not same[row, kept].any():
            kept.append(int(row))
    return detections[kept]


def box_areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) square pixels of boxes (N, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersections(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, M) square pixels that boxes (N, 4) and others (M, 4) share."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides: NDArray[np.float32] = np.maximum(high - low, 0)
    return sides[..., 0] * sides[..., 1]
