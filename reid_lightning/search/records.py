"""What the rooms of the search side hand to each other: frames, detections, sightings, matches.

picture or video -> Frame -> Detections -> TrackedBox -> Sighting (on disk) -> Match.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reid_lightning.errors import ReIDError

VEHICLE_TYPES = ("car", "motorcycle", "bus", "truck")
"""What detectors that know types call a vehicle; one that does not (motion) says `vehicle`."""
UNKNOWN_TYPE = "vehicle"
UNCONFIRMED = "unconfirmed"
"""The mark of what moved, and of which neither a vehicle model nor a person says that it is a vehicle."""

OnProgress = Callable[[int, int], None]
"""Is called with what is done, and all that there is; what it raises ends the work."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    `picture` is (height, width, 3) uint8 RGB; `number` counts the frames of a video, or the pictures of a folder,
    from 0; `seconds` are since the start of a video (0 for pictures); `path` is the picture's file, if it has one.
    """

    picture: np.ndarray
    number: int
    seconds: float = 0.0
    path: Path | None = None

    def crop(self, box: np.ndarray | Box, *, margin: float = 0.0) -> np.ndarray:
        """The pixels of a box (x1, y1, x2, y2), widened by `margin` of its sides and cut at the edges; a view."""
        x1, y1, x2, y2 = box_of(box)
        aside, above = margin * (x2 - x1), margin * (y2 - y1)
        height, width = self.picture.shape[:2]
        left, top = max(0, round(x1 - aside)), max(0, round(y1 - above))
        right, bottom = min(width, round(x2 + aside)), min(height, round(y2 + above))
        return self.picture[top : max(bottom, top + 1), left : max(right, left + 1)]


@dataclass(frozen=True)
class Detections:
    """The vehicles of a frame: boxes (N, 4) float32 as x1, y1, x2, y2 in pixels, scores (N,) float32 from 0 to 1, types
    (N strings of VEHICLE_TYPES, or UNKNOWN_TYPE)."""

    boxes: np.ndarray
    scores: np.ndarray
    types: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.boxes.shape != (len(self.scores), 4) or len(self.types) != len(self.scores):
            raise ReIDError(
                f"detections of {self.boxes.shape} boxes, {self.scores.shape} scores and {len(self.types)} types; "
                "expected (N, 4), (N,) and N."
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray | list[int]) -> Detections:
        """Those of some rows, by number."""
        rows = np.asarray(rows, dtype=np.int64)
        return Detections(self.boxes[rows], self.scores[rows], tuple(self.types[row] for row in rows))

    @classmethod
    def none(cls) -> Detections:
        """No vehicle."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), ())


@dataclass(frozen=True)
class TrackedBox:
    """A detection that belongs to track `track` (1, 2, ... within a source); box (4,) float32, inside the frame."""

    track: int
    box: np.ndarray
    score: float
    type: str


@dataclass(frozen=True)
class Crop:
    """A saved picture of a vehicle: its file's name beside the sidecar, and where it was cut out.

    `box` is x1, y1, x2, y2 in pixels of frame `frame`, `seconds` since the source's start; `quality` from 0 to 1.
    """

    file: str
    frame: int
    seconds: float
    box: Box
    score: float
    quality: float


@dataclass(frozen=True)
class Sighting:
    """One track of one vehicle before one camera: what a sidecar holds.

    `id` is a pure function of source, camera and track: registering again gives the same one. `source` is the source's
    fingerprint, `source_name` what it was called. `start` and `end` are seconds since 1970 (UTC), or None where nobody
    knows when the source began. `plate` is what was read, with `plate_confidence`; None: nothing legible. `confirmed`
    says whether a vehicle model or a person says that this is a vehicle; else it has moved, and is marked UNCONFIRMED.

    What was known when it was registered, for whoever looks at it: without a plate the vehicle that it `looks_like`
    most, with a `looks_like_score` (cosine similarity); with one another plate that differs in one character,
    `near_plate`, which was seen by `near_plate_camera`.
    """

    id: str
    vehicle: str
    camera: str
    source: str
    source_name: str
    track: int
    type: str
    detector: str
    crops: tuple[Crop, ...]
    start: float | None = None
    end: float | None = None
    plate: str | None = None
    plate_confidence: float = 0.0
    confirmed: bool = True
    looks_like: str | None = None
    looks_like_score: float = 0.0
    near_plate: str | None = None
    near_plate_camera: str | None = None


@dataclass(frozen=True)
class VectorRecord:
    """What the vector store keeps beside the embedding of one crop. `time` in seconds since 1970, None unknown."""

    id: str
    sighting: str
    vehicle: str
    camera: str
    type: str
    time: float | None = None


@dataclass(frozen=True)
class Filter:
    """Which vectors count; None everywhere: all of them. `since` <= time < `until`; an unknown time meets neither."""

    vehicles: tuple[str, ...] | None = None
    cameras: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    since: float | None = None
    until: float | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing is asked for."""
        return self == Filter()


@dataclass(frozen=True)
class Hit:
    """A vector that was found: its record and its cosine similarity to the query."""

    record: VectorRecord
    score: float


@dataclass(frozen=True)
class Candidate:
    """A vehicle in the query that may be a registered one: picture (height, width, 3) uint8 RGB, and where it was."""

    picture: np.ndarray
    frame: int = 0
    seconds: float = 0.0
    box: Box | None = None
    track: int | None = None
    type: str = UNKNOWN_TYPE


@dataclass(frozen=True)
class Match:
    """A candidate and a registered vehicle: `score` is the cosine similarity of the candidate to `picture`, the most
    similar picture of that vehicle (after re-ranking or a prior: what these made of it). `camera` took `picture`, and
    `time` (seconds since 1970) is when the sighting that it belongs to began; None unknown. `confirmed`: a sighting of
    the vehicle is, as far as was asked."""

    vehicle: str
    score: float
    frame: int = 0
    seconds: float = 0.0
    box: Box | None = None
    track: int | None = None
    type: str = UNKNOWN_TYPE
    picture: str | None = None
    camera: str | None = None
    details: dict[str, float] = field(default_factory=dict)
    time: float | None = None
    confirmed: bool = True


def unseen(done: int, total: int) -> None:
    """An `OnProgress` where nobody looks."""


def box_of(sides: Iterable[float], *, digits: int | None = None) -> Box:
    """Four sides as plain numbers, rounded to so many digits where some are given."""
    x1, y1, x2, y2 = (float(side) if digits is None else round(float(side), digits) for side in sides)
    return x1, y1, x2, y2


def by_frame(matches: list[Match]) -> Iterator[tuple[int, list[Match]]]:
    """Matches of each frame, frames ascending, in their order."""
    frames: dict[int, list[Match]] = {}
    for match in matches:
        frames.setdefault(match.frame, []).append(match)
    yield from sorted(frames.items())


def time_code(seconds: float) -> str:
    """Hours, minutes, seconds and thousandths: 83.45 -> "00:01:23.450"."""
    if not math.isfinite(seconds * 1000):
        return "--:--:--.---"
    thousandths = round(abs(seconds) * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    sign = "-" if seconds < 0 and thousandths else ""
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
