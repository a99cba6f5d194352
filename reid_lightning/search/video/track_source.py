"""Source in, tracked vehicles out, frame by frame: what registering and searching have in common.

A video is followed from frame to frame; every picture stands for itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import UNKNOWN_TYPE, Detections, Frame, TrackedBox
from reid_lightning.search.video.ahead import ahead
from reid_lightning.search.video.detectors import Detector
from reid_lightning.search.video.fixed_camera import FixedCamera
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.tracking import VehicleTracker

Pictures = Literal["auto", "scenes", "crops"]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
MOST = 0.6
"""Of a picture's area: a vehicle that covers so much of it is what the picture is of."""


@dataclass(frozen=True)
class Step:
    """A frame, the vehicles in it, and the tracks that have ended: seconds ago, where it is known only then whether the
    camera had moved before a detector that needs a fixed one. Those of `left_out` it had."""

    frame: Frame
    boxes: tuple[TrackedBox, ...]
    ended: tuple[int, ...]
    left_out: tuple[int, ...] = ()


def follow(
    source: Source,
    detector: Detector,
    build_tracker: Callable[..., VehicleTracker],
    *,
    pictures: Pictures = "auto",
    whole_if_none: bool = False,
    box: Box | None = None,
) -> Generator[Step, None, None]:
    """Detect and track, in a thread of its own, at most `source.ahead` frames before they are asked for.

    Args:
        source: an open source.
        detector: looks at every frame that the source gives.
        build_tracker: makes a tracker, given `frame_rate`, the frames that come in a second.
        pictures: what a picture is: a scene to detect vehicles in, a crop of one vehicle, or a scene where the detector
            works on pictures and a crop where it does not (auto).
        whole_if_none: with `auto`, a picture in which nothing is detected, or a vehicle that covers `MOST` of it, is
            one vehicle.
        box: the vehicle of a source that is one picture; nothing is detected then.

    Raises:
        ReIDError: `pictures` is none of these; or scenes were asked for, and the detector needs a video; or the box is
            not in the picture, or the source not one picture; or the detector needs a fixed camera, and this one moves
            all the time. One that moves for a while is a warning of the source's.
    """
    if pictures not in get_args(Pictures):
        raise ReIDError(f"pictures is {pictures!r}; expected one of {', '.join(get_args(Pictures))}.")
    if not source.in_video and pictures == "scenes" and not detector.works_on_pictures:
        raise ReIDError(
            f"pictures=scenes: the {detector.name} detector compares the frames of a video and finds nothing in a "
            "picture. Choose detector=yolox or detector=torchvision, or pictures=crops if each shows one vehicle."
        )
    if box is not None:
        check_box(source, box)
    detector.start()
    if box is not None:
        steps = _given(source, box)
    elif source.in_video:
        steps = _follow_video(source, detector, build_tracker)
    else:
        steps = _look_at_pictures(source, detector, pictures, whole_if_none=whole_if_none)
    yield from ahead(steps, size=source.ahead)


def _look_at_pictures(source: Source, detector: Detector, pictures: Pictures, *, whole_if_none: bool) -> Iterator[Step]:
    detects, track = detects_in_pictures(detector, pictures), 0
    for frame, detected in _looked_at(source, detector) if detects else ((one, Detections.none) for one in source):
        found = detected()
        if not detects:
            found = _whole(frame)
        elif whole_if_none and pictures == "auto":
            found = _one_or_many(frame, found)
        boxes = tuple(
            TrackedBox(track + 1 + row, found.boxes[row], float(found.scores[row]), found.types[row])
            for row in range(len(found))
        )
        track += len(found)
        yield Step(frame, boxes, tuple(box.track for box in boxes))


def detects_in_pictures(detector: Detector, pictures: Pictures) -> bool:
    """Whether vehicles are looked for in pictures; else each picture is one."""
    return pictures == "scenes" or (pictures == "auto" and detector.works_on_pictures)


def _follow_video(source: Source, detector: Detector, build_tracker: Callable[..., VehicleTracker]) -> Iterator[Step]:
    tracker = build_tracker(frame_rate=(source.frames_per_second or 25.0) / source.every)
    camera = None if detector.works_on_pictures else FixedCamera(source)
    step = None
    for frame, detected in _looked_at(source, detector):
        if step is not None:
            if frame.picture.shape != step.frame.picture.shape:  # another scene: places in it are other places
                step = replace(step, ended=(*step.ended, *tracker.close()))
                detector.start()
            yield step if camera is None else _sorted_out(step, camera)
        if camera is None or camera.stands_still(frame):
            found = detected()
        else:
            found = Detections.none()
            detector.start()  # its background is another one when the camera stands still again
        boxes = tracker.update(found, seconds=frame.seconds)
        step = Step(frame, tuple(boxes), tuple(tracker.finished()))
    if step is not None:
        step = replace(step, ended=(*step.ended, *tracker.close()))
        yield step if camera is None else _sorted_out(step, camera, last=True)
    if camera is not None:
        camera.close()


def _looked_at(source: Source, detector: Detector) -> Iterator[tuple[Frame, Callable[[], Detections]]]:
    """Each frame, and what gives its vehicles.

    A detector that remembers nothing looks at as many frames at a time as it has threads, `source.ahead` at most, and
    of frames that are equal to the last pixel at the first alone.
    """
    threads = min(getattr(detector, "side_by_side", 1), source.ahead)
    if threads == 1:
        for frame in source:
            yield frame, partial(detector.detect, frame.picture)
        return
    waiting: deque[tuple[Frame, Callable[[], Detections]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="detect")
    try:
        for frame in source:
            if waiting and _equal(waiting[-1][0].picture, frame.picture):
                detected = waiting[-1][1]
            else:
                detected = pool.submit(detector.detect, frame.picture).result
            waiting.append((frame, detected))
            if len(waiting) > threads:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Most differ in the few lines that are compared first."""
    return np.array_equal(one[::61], other[::61]) and np.array_equal(one, other)


def _sorted_out(step: Step, camera: FixedCamera, *, last: bool = False) -> Step:
    ended, left_out = camera.sort_out(step.boxes, step.ended, seconds=step.frame.seconds, last=last)
    return replace(step, ended=ended, left_out=left_out)


def check_box(source: Source, box: Box) -> None:
    """ReIDError: the source is not one picture, or the box no part of it."""
    given = f"box=[{','.join(f'{side:g}' for side in box)}]"
    if source.kind != "picture":
        raise ReIDError(f"{given} and {source.name}, a {source.kind}, came together; a box is of one picture.")
    for frame in source:
        height, width = frame.picture.shape[:2]
        x1, y1, x2, y2 = box
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            raise ReIDError(
                f"{given} is no part of {source.name}, which is {width} x {height} pixels; expected [x1,y1,x2,y2] "
                f"with 0 <= x1 < x2 <= {width} and 0 <= y1 < y2 <= {height}."
            )


def _given(source: Source, box: Box) -> Iterator[Step]:
    for frame in source:
        yield Step(frame, (TrackedBox(1, np.array(box, np.float32), 1.0, UNKNOWN_TYPE),), (1,))


def _one_or_many(frame: Frame, found: Detections) -> Detections:
    """A crop stays a crop: the vehicle that fills it is looked at with all that the picture shows of it."""
    if len(found) == 0:
        return _whole(frame)
    height, width = frame.picture.shape[:2]
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    largest = int(np.argmax(sides[:, 0] * sides[:, 1]))
    if float(sides[largest, 0] * sides[largest, 1]) < MOST * height * width:
        return found
    return replace(_whole(frame), scores=found.scores[[largest]], types=(found.types[largest],))


def _whole(frame: Frame) -> Detections:
    height, width = frame.picture.shape[:2]
    return Detections(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32), (UNKNOWN_TYPE,))
