"""Clean boxes: inside the frame, and one for each vehicle, whatever a detector says about it.

A van is a car and a truck at once to a detector that suppresses overlaps type by type.
"""

from __future__ import annotations

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.records import Detections

with extra("search"):
    from supervision import OverlapMetric, box_iou_batch

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
    if len(detections) < 2:
        return detections
    order = np.argsort(-detections.scores, kind="stable")
    boxes = detections.boxes
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    comparable = np.minimum.outer(areas, areas) > _COMPARABLE * np.maximum.outer(areas, areas)
    contained = box_iou_batch(boxes, boxes, OverlapMetric.IOS) > _CONTAINED
    same = (box_iou_batch(boxes, boxes) > overlap) | (contained & comparable)
    kept: list[int] = []
    for row in order:
        if not same[row, kept].any():
            kept.append(int(row))
    return detections[kept]
