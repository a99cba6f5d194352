"""What a running search has found so far, in little memory, for a page that looks at it meanwhile.

Frames are not kept: of the best pairs of a track and a vehicle a small picture, of the rest numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from PIL import Image, ImageDraw

from reid_lightning.app.pictures import small_jpeg
from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.matching.vehicle_search import SearchedFrame
from reid_lightning.search.output.annotate import colour_of
from reid_lightning.search.records import Frame, Match

MOST_CARDS = 60
MOST_BINS = 200
"""Places of the timeline, from the source's start to its end."""
_SHORTEST_BIN = 0.1  # seconds
_FRAME_SIDE, _PICTURE_SIDE = 640, 256  # pixels of the longer side
_FILLED = 0.95  # of a picture


@dataclass(frozen=True)
class Card:
    """A track and a vehicle: their best match, where else they matched, and pictures as JPEG.

    `first` and `last` are seconds since the source's start, `frames` is how many match; `picture` is the frame of the
    best match with its box; `registered` is None where that picture cannot be read.
    """

    match: Match
    first: float
    last: float
    frames: int
    picture: bytes
    registered: bytes | None


@dataclass(frozen=True)
class TimelinePoint:
    """A vehicle in one piece of the source's time: its best score, and in how many frames it was found."""

    vehicle: str
    start: float
    end: float
    score: float
    frames: int


@dataclass(frozen=True)
class Snapshot:
    """All that is known at a moment; `best_seen` is the best match of all, whether it passed or not, and `pairs` are
    tracks with a vehicle that passed, of which `cards` are the best, best first."""

    frames: int
    pairs: int
    cards: tuple[Card, ...]
    timeline: tuple[TimelinePoint, ...]
    best_seen: Match | None


@dataclass(frozen=True)
class _Pair:
    match: Match
    first: float
    last: float
    frames: int


class Found:
    """Collects in one thread what another one draws.

    Args:
        picture_path: the file of a match's registered picture, or None; see `Gallery.picture_path`.
        most_cards: pairs whose pictures are kept: the best ones.
    """

    def __init__(self, picture_path: Callable[[Match], Path | None], *, most_cards: int = MOST_CARDS) -> None:
        self._picture_path = picture_path
        self._most_cards = most_cards
        self._lock = Lock()
        self._frames = 0
        self._best_seen: Match | None = None
        self._pairs: dict[tuple[int | None, str], _Pair] = {}
        self._pictures: dict[tuple[int | None, str], bytes] = {}
        self._registered: dict[str | None, bytes | None] = {}
        self._bin = _SHORTEST_BIN
        self._timeline: dict[tuple[str, int], tuple[float, int]] = {}

    def add(self, searched: SearchedFrame, *, best: Match | None = None) -> None:
        """A frame with the matches that passed, and the best one of it, passed or not."""
        with self._lock:
            self._frames += 1
            if best is not None and (self._best_seen is None or best.score > self._best_seen.score):
                self._best_seen = best
            for match in searched.matches:
                self._add_to_pair(searched.frame, match)
                self._add_to_timeline(match)

    def snapshot(self) -> Snapshot:
        """As it is now."""
        with self._lock:
            cards = [
                Card(**vars(self._pairs[key]), picture=picture, registered=self._registered[self._picture_of(key)])
                for key, picture in self._pictures.items()
            ]
            points = [
                TimelinePoint(vehicle, place * self._bin, (place + 1) * self._bin, score, frames)
                for (vehicle, place), (score, frames) in self._timeline.items()
            ]
            return Snapshot(
                frames=self._frames,
                pairs=len(self._pairs),
                cards=tuple(sorted(cards, key=lambda card: (-card.match.score, card.match.seconds))),
                timeline=tuple(sorted(points, key=lambda point: (point.start, point.vehicle))),
                best_seen=self._best_seen,
            )

    def _add_to_pair(self, frame: Frame, match: Match) -> None:
        key = match.track, match.vehicle
        before = self._pairs.get(key)
        if before is None:
            self._pairs[key] = _Pair(match, match.seconds, match.seconds, 1)
        else:
            best = match if match.score > before.match.score else before.match
            self._pairs[key] = _Pair(best, before.first, match.seconds, before.frames + 1)
        if self._pairs[key].match is match:
            self._keep_picture(key, frame, match)

    def _keep_picture(self, key: tuple[int | None, str], frame: Frame, match: Match) -> None:
        if key not in self._pictures and len(self._pictures) >= self._most_cards:
            worst = min(self._pictures, key=lambda kept: self._pairs[kept].match.score)
            if match.score <= self._pairs[worst].match.score:
                return
            del self._pictures[worst]
        self._pictures[key] = small_jpeg(_with_box(frame, match), _FRAME_SIDE)
        if match.picture not in self._registered:
            self._registered[match.picture] = self._registered_picture(match)
        wanted = {self._picture_of(kept) for kept in self._pictures}
        self._registered = {name: picture for name, picture in self._registered.items() if name in wanted}

    def _picture_of(self, key: tuple[int | None, str]) -> str | None:
        return self._pairs[key].match.picture

    def _registered_picture(self, match: Match) -> bytes | None:
        try:
            path = self._picture_path(match)
            picture = None if path is None else load_image(path)
        except (ReIDError, OSError):
            return None
        return None if picture is None else small_jpeg(picture, _PICTURE_SIDE)

    def _add_to_timeline(self, match: Match) -> None:
        while match.seconds / self._bin >= MOST_BINS:
            self._bin *= 2
            halved: dict[tuple[str, int], tuple[float, int]] = {}
            for (vehicle, place), (score, frames) in self._timeline.items():
                best, more = halved.get((vehicle, place // 2), (score, 0))
                halved[vehicle, place // 2] = max(best, score), frames + more
            self._timeline = halved
        key = match.vehicle, int(match.seconds / self._bin)
        best, frames = self._timeline.get(key, (match.score, 0))
        self._timeline[key] = max(best, match.score), frames + 1


def _with_box(frame: Frame, match: Match) -> Image.Image:
    """The frame in the size of a card, and where the vehicle is in it; one that fills its picture needs no box."""
    picture = Image.fromarray(frame.picture)
    before = picture.size
    picture.thumbnail((_FRAME_SIDE, _FRAME_SIDE))
    if match.box is None:
        return picture
    scales = (picture.width / before[0], picture.height / before[1]) * 2
    x1, y1, x2, y2 = (side * scale for side, scale in zip(match.box, scales, strict=True))
    if (x2 - x1) * (y2 - y1) < _FILLED * picture.width * picture.height:
        corners = max(x1, 0.0), max(y1, 0.0), min(x2, picture.width - 1.0), min(y2, picture.height - 1.0)
        ImageDraw.Draw(picture).rectangle(corners, outline=colour_of(match.vehicle), width=3)
    return picture
