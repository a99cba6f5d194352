"""Detections of one vehicle in successive frames, joined to a track by ByteTrack (Zhang et al., ECCV 2022).

A thin shell over the `trackers` library: tracks are numbered from 1, and those that have ended are named as they do.
"""

from __future__ import annotations

import math

import numpy as np

from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.records import Detections, TrackedBox

with extra("search"):
    import supervision
    from trackers import ByteTrackTracker


class VehicleTracker:
    """Follows vehicles through the frames of one source.

    A track begins with the second detection that fits together: single ones are mistakes of the detector as a rule. The
    first of them is not given out.

    Args:
        frame_rate: frames a second that come: of a video of which every n-th is looked at, an n-th of its own rate; the
            motion model is tuned to steps of one frame.
        lost_seconds: how long a vehicle may be hidden and still be the same track.
        min_iou: least overlap of a detection with the place where its track is expected.
        start_score: detections below never begin a track.
        sure_score: detections from here on are joined first, and the rest to what is left of the tracks.

    Raises:
        ReIDError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        frame_rate: float = 25.0,
        lost_seconds: float = 1.0,
        min_iou: float = 0.1,
        start_score: float = 0.4,
        sure_score: float = 0.5,
    ) -> None:
        if not (math.isfinite(frame_rate) and frame_rate > 0 and math.isfinite(lost_seconds) and lost_seconds >= 0):
            raise ReIDError(
                f"frame_rate is {frame_rate} and lost_seconds {lost_seconds}; expected a number above 0 and at least 0."
            )
        if not all(0 <= value <= 1 for value in (min_iou, start_score, sure_score)):
            raise ReIDError(
                f"min_iou is {min_iou}, start_score {start_score}, sure_score {sure_score}; expected all from 0 to 1."
            )
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(30 * lost_seconds),  # the library counts in frames of 1/30 s
            frame_rate=frame_rate,
            track_activation_threshold=start_score,
            minimum_consecutive_frames=2,
            minimum_iou_threshold=min_iou,
            high_conf_det_threshold=sure_score,
        )
        self._numbers: dict[int, int] = {}  # the library's number of each living track -> ours
        self._last = 0

    def update(self, detections: Detections, *, seconds: float | None = None) -> list[TrackedBox]:
        """The detections of the next frame that belong to a track, in the order of tracks; boxes as detected.

        `seconds` is when the frame was taken, ascending; None: one frame after the last one. Say it always or never.
        """
        found = self._tracker.update(
            supervision.Detections(
                xyxy=detections.boxes.astype(np.float64),
                confidence=detections.scores,
                data={"row": np.arange(len(detections))},
            ),
            timestamp=seconds,
        )
        tracked = []
        numbers = () if found.tracker_id is None else found.tracker_id
        for row, theirs in zip(found.data.get("row", ()), numbers, strict=True):
            if theirs < 0:
                continue
            if theirs not in self._numbers:
                self._last += 1
                self._numbers[int(theirs)] = self._last
            box, score, kind = detections.boxes[row], float(detections.scores[row]), detections.types[row]
            tracked.append(TrackedBox(self._numbers[int(theirs)], box, score, kind))
        return sorted(tracked, key=lambda one: one.track)

    def finished(self) -> list[int]:
        """Tracks that have ended since the last call: no later frame can belong to them."""
        alive = {track.tracker_id for track in self._tracker.tracks}
        ended = [theirs for theirs in self._numbers if theirs not in alive]
        return sorted(self._numbers.pop(theirs) for theirs in ended)

    def close(self) -> list[int]:
        """The source has ended, and with it all tracks: those that `finished` had not named yet. Numbers go on counting
        if another source follows."""
        ended = sorted(self._numbers.values())
        self._tracker.reset()
        self._numbers = {}
        return ended
