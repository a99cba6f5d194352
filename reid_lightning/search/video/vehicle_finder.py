"""The vehicles of a source, one after the other as their tracks end: best crops, type and plate. Stores nothing.

Registration saves them at once; an application may show them first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field

from reid_lightning.errors import ReIDError, count
from reid_lightning.search.plates import PlateReader, PlateVote
from reid_lightning.search.plates.track_reading import read_track
from reid_lightning.search.records import UNKNOWN_TYPE, Frame, TrackedBox
from reid_lightning.search.video.ahead import ahead
from reid_lightning.search.video.best_crops import BestCrops, KeptCrop
from reid_lightning.search.video.detectors import Detector
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.track_source import Pictures, Step, detects_in_pictures, follow
from reid_lightning.search.video.tracking import VehicleTracker

_VEHICLES_AHEAD = 4  # found while others are saved
WORTH_KEEPING = 0.5
"""Pictures of a track are kept that have at least so much of the best one's quality: not a roof, or half a car."""


@dataclass(frozen=True)
class FoundVehicle:
    """One track: its best pictures in the order of time, and what was read off them.

    `first` and `last` are seconds since the source's start, `frames` how many showed it. `frame` is the picture that it
    was found in, None in a video. `confirmed`: a vehicle model says that it is one, or whoever says `pictures=crops`.
    """

    track: int
    type: str
    crops: tuple[KeptCrop, ...]
    first: float
    last: float
    frames: int
    plate: PlateVote | None
    frame: Frame | None = None
    confirmed: bool = True
    detector: str = ""
    """By which it was found; "none": the picture is the vehicle, and nothing was detected in it."""


@dataclass
class TrackCounts:
    """How many tracks of a source have ended, and what became of them: `found`, or left out for one of the reasons."""

    found: int = 0
    small: int = 0
    """Every box below `min_side`."""
    short: int = 0
    """Seen in fewer frames than `min_frames`."""
    poor: int = 0
    """The best picture below `min_quality`."""
    moved: int = 0
    """Seen while the camera moved, by a detector that needs a fixed one."""

    def describe(self, found: str, *, in_video: bool = True) -> str:
        """`28 tracks: 23 registered, 5 left out: 3 too short, 2 poor pictures`; `found` is the word for those found; in
        pictures the tracks are `vehicles`."""
        reasons = (
            *((self.small, "too small"), (self.short, "too short"), (self.poor, "poor pictures")),
            (self.moved, "while the camera moved"),
        )
        left = sum(number for number, _ in reasons)
        said = f"{count(self.found + left, 'track' if in_video else 'vehicle')}: {self.found:,} {found}"
        if left:
            said += f", {left:,} left out: {', '.join(f'{number:,} {why}' for number, why in reasons if number)}"
        return said


@dataclass
class _Growing:
    crops: BestCrops
    first: float
    last: float = 0.0
    frames: int = 0
    types: dict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass
class VehicleFinder:
    """Detector, tracker and plate reader, put together.

    Args:
        detector: finds vehicles in a frame.
        plate_reader: reads plates in crops.
        build_tracker: makes a tracker, given `frame_rate`.
        min_plate_confidence: votes below it count as no plate.
        crops: pictures kept of a track.
        min_frames: shorter tracks of a video are left out: a flicker, not a vehicle.
        min_side: pixels; crops whose shorter side is below it are left out, and tracks without any other.
        min_quality: of a track's best picture in a video, see `crop_quality`; others are no vehicle to recognise.
        pictures: what a picture shows, see `follow`.
    """

    detector: Detector
    plate_reader: PlateReader
    _: KW_ONLY
    build_tracker: Callable[..., VehicleTracker]
    min_plate_confidence: float = 0.6
    crops: int = 5
    min_frames: int = 3
    min_side: int = 24
    min_quality: float = 0.02
    pictures: Pictures = "auto"
    counts: TrackCounts = field(init=False, default_factory=TrackCounts)
    """Of the source that is looked through, or was last; of still pictures every vehicle counts as a track."""

    def __post_init__(self) -> None:
        for name in ("crops", "min_frames", "min_side"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ReIDError(f"{name} is {value!r}; expected a whole number of 1 or more.")
        for name in ("min_quality", "min_plate_confidence"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ReIDError(f"{name} is {share!r}; expected a number from 0 to 1.")

    def find(
        self, source: Source, *, on_step: Callable[[Step], None] | None = None
    ) -> Generator[FoundVehicle, None, None]:
        """Each vehicle as soon as its track has ended; `on_step` is called with every frame, in the thread that chooses
        pictures and reads plates."""
        counts = self.counts = TrackCounts()
        with closing(ahead(self._found(source, counts, on_step), size=_VEHICLES_AHEAD)) as vehicles:
            for vehicle in vehicles:
                counts.found += 1  # not those that nobody will have asked for
                yield vehicle

    def _found(
        self, source: Source, counts: TrackCounts, on_step: Callable[[Step], None] | None
    ) -> Iterator[FoundVehicle]:
        growing: dict[int, _Growing] = {}
        still = not source.in_video
        for step in follow(source, self.detector, self.build_tracker, pictures=self.pictures):
            for box in step.boxes:
                self._grow(growing, step, box)
            if on_step is not None:
                on_step(step)
            for track in step.left_out:
                counts.moved += growing.pop(track, None) is not None
            for track in step.ended:
                ended = growing.pop(track, None)
                if ended is None:
                    counts.small += 1
                    continue
                if not still and ended.frames < self.min_frames:
                    counts.short += 1
                    continue
                crops = ended.crops.best()
                best = max(crop.quality for crop in crops)
                if not still and best < self.min_quality:
                    counts.poor += 1
                    continue
                good = [crop for crop in crops if crop.quality >= WORTH_KEEPING * best]
                yield self._finish(track, ended, good, step.frame if still else None)

    def _grow(self, growing: dict[int, _Growing], step: Step, box: TrackedBox) -> None:
        x1, y1, x2, y2 = box.box
        if min(x2 - x1, y2 - y1) < self.min_side:
            return
        track = growing.get(box.track)
        if track is None:
            track = growing[box.track] = _Growing(BestCrops(keep=self.crops), step.frame.seconds)
        track.last = step.frame.seconds
        track.frames += 1
        track.types[box.type] += box.score
        track.crops.add(step.frame, box, [other.box for other in step.boxes if other is not box])

    def _finish(self, track: int, grown: _Growing, crops: Sequence[KeptCrop], frame: Frame | None) -> FoundVehicle:
        known = {name: weight for name, weight in grown.types.items() if name != UNKNOWN_TYPE} or grown.types
        plate = read_track(
            self.plate_reader,
            [crop.picture for crop in crops],
            [crop.quality for crop in crops],
            min_confidence=self.min_plate_confidence,
        )
        kind = max(sorted(known), key=lambda name: known[name])
        detected = frame is None or detects_in_pictures(self.detector, self.pictures)
        return FoundVehicle(
            track,
            kind,
            tuple(crops),
            *(grown.first, grown.last, grown.frames),
            plate,
            frame,
            confirmed=self.detector.knows_vehicles or (frame is not None and self.pictures == "crops"),
            detector=self.detector.name if detected else "none",
        )
