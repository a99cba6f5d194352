"""What a detector that needs a fixed camera makes of one that moves: nothing is found meanwhile, with a warning.

It takes seconds until a movement is noticed. Tracks that have ended are therefore held back, until it is known that the
camera stood still as long as they were seen.
"""

from __future__ import annotations

from collections.abc import Sequence

from reid_lightning.errors import ReIDError, count
from reid_lightning.search.records import Frame, TrackedBox, time_code
from reid_lightning.search.video.camera_motion import CameraMotion
from reid_lightning.search.video.source_base import Source

_HELD = 3.5  # seconds from a track's last box until it is known whether the camera moved
_LONG_ENOUGH = 10.0  # seconds of nothing but movement, after which it would be a waste to look at the rest
_ALL = 0.9  # share of the time
_TIMES = 5  # named in a warning
ADVICE = (
    "Use a detector that knows vehicles: detector=yolox detector.path=<YOLOX ONNX file> "
    "(`reid detector fetch` fetches one); or a camera that stands still."
)


class FixedCamera:
    """The camera of a source, as long as it stands still."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._motion = CameraMotion()
        self._seen: dict[int, tuple[float, float]] = {}  # track -> from, to
        self._ended: list[int] = []
        self._given = 0
        self._first: float | None = None
        self._last = 0.0

    def stands_still(self, frame: Frame) -> bool:
        """Whether it does, as far as is known by now. ReIDError: it has moved from the beginning on, for long."""
        self._first = frame.seconds if self._first is None else self._first
        self._last = frame.seconds
        moves = self._motion.see(frame.picture, frame.seconds)
        if moves and self._given == 0 and self._last - self._first >= _LONG_ENOUGH:
            self._check()
        return not moves

    def sort_out(
        self, boxes: Sequence[TrackedBox], ended: Sequence[int], *, seconds: float, last: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tracks that are known to have ended before a camera that stood still, and those that have not; `boxes` and
        `ended` are those of the frame at `seconds`, and with the `last` one everything is reported."""
        for box in boxes:
            self._seen[box.track] = self._seen.get(box.track, (seconds, seconds))[0], seconds
        self._ended += ended
        reported = [track for track in self._ended if last or seconds - self._seen[track][1] >= _HELD]
        self._ended = [track for track in self._ended if track not in reported]
        good: list[int] = []
        bad: list[int] = []
        for track in reported:
            (bad if self._motion.moved_between(*self._seen.pop(track)) else good).append(track)
        self._given += len(good)
        return tuple(good), tuple(bad)

    def close(self) -> None:
        """The source has ended: its warning says when the camera moved. ReIDError: all the time."""
        if self._given == 0:
            self._check()
        if not (spans := self._motion.spans):
            return
        times = ", ".join(f"{time_code(start)[:-4]} to {time_code(end)[:-4]}" for start, end in spans[:_TIMES])
        more = f" and {count(len(spans) - _TIMES, 'time')} more" if len(spans) > _TIMES else ""
        said = (
            f"The camera of {self._source.name} moved ({times}{more}). What the motion detector saw then is left out: "
            f"before a moving camera everything moves. {ADVICE}"
        )
        self._source.warning = said if self._source.warning is None else f"{self._source.warning} {said}"

    def _check(self) -> None:
        moved = sum(end - start for start, end in self._motion.spans)
        if moved > 0 and moved >= _ALL * (self._last - (self._first or 0.0)):
            raise ReIDError(
                f"the camera of {self._source.name} moves, and before a moving camera the motion detector takes trees "
                f"and signs for vehicles. {ADVICE}"
            )
