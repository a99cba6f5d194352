"""Does the camera move? For detectors that compare frames: before a moving camera, trees and signs move as well.

Corners of the picture are followed by optical flow (Lucas and Kanade, 1981, in pyramids: Bouguet, 2000). Before a fixed
camera most of them stay where they are, whatever drives by; before a moving one most of them do not. It takes 5 to
10 % of the motion detector's time, most of it for scaling down large frames.
"""

from __future__ import annotations

import numpy as np

from reid_lightning.errors import extra

with extra("search"):
    import cv2


_SIDE = 160  # pixels of the longer side that frames are looked at in
_GRID = (14, 9)  # one corner is followed in each of so many columns and rows
_AROUND = (21, 21)  # pixels of the neighbourhood that a pixel's contrast is measured in
_EVERY = 0.2  # seconds from look to look
_MEMORY = 20  # looks that a corner's way is remembered for: 4 s
_AGE = 5  # looks after which a corner that is still in its place stays there
_FAR = 0.02  # share of the longer side from which a corner has left its place
_CORNER = 0.002  # least eigenvalue of a corner's gradients, from which it can be followed
_ENOUGH = 12  # corners that say anything together; fewer in fog, and before a wall
_PICTURE = 20  # that have left their places: fewer may be a car at night, of which only that is seen that moves
_LOST, _MANY = 0.7, 30  # share that is lost from look to look, of so many corners, where no picture is like the last
_PAUSE = 1.0  # seconds without movement that are none between two others
_LOOKS, _PASSING = 5, 15  # of the same opinion: 1 s; 3 s for what may be a bus that hides the road and is gone then
_KNOWN = 0.3  # of those that left their place: share that had stayed in it before, so that it is no bus

Spans = tuple[tuple[float, float], ...]
"""Times from, to; seconds of the source, ascending."""


class CameraMotion:
    """Give it every frame; it looks at five of a second.

    The camera moves where, for a second, more corners have left their places within 4 s than have stayed in them, or no
    look finds again what the last one saw. Shaking that comes back to where it was, light that jumps, noise, rain and
    cuts are no movement. What hides a known background and moves itself, a bus or a lorry, has to do so for three
    seconds. A camera that turns by less than 0.7 % of the picture's width in a second is taken for a fixed one.
    """

    def __init__(self) -> None:
        self.moves = False
        self._spans: list[tuple[float, float]] = []
        self._begin()

    def _begin(self) -> None:
        self._grey: np.ndarray | None = None
        self._ways = np.empty((0, 0, 2), np.float32)  # (looks, corners, 2) x, y; NaN before a corner was chosen
        self._last = 0.0
        self._for, self._against, self._needed = 0, 0, _LOOKS  # looks of one opinion, one after the other
        self._began = 0.0
        self._stood_still = False

    @property
    def spans(self) -> Spans:
        """When it moved; the last one ends with what was seen so far if it still moves."""
        return tuple(self._spans)

    def see(self, picture: np.ndarray, seconds: float) -> bool:
        """Whether the camera moves in this frame, (height, width, 3) uint8 RGB, as far as is known by now."""
        if self._grey is None or not 0 <= seconds - self._last < _EVERY - 1e-3:
            grey = _levelled(picture)
            if self._grey is not None and self._grey.shape != grey.shape:
                self._begin()
            lost = self._follow(grey)
            self._grey, self._last = grey, seconds
            self._judge(lost)
        if self.moves:
            self._spans[-1] = self._spans[-1][0], seconds
        return self.moves

    def moved_between(self, first: float, last: float) -> bool:
        """Whether it moved at any time from `first` to `last`, in seconds of the source."""
        return any(start <= last and first <= end for start, end in self._spans)

    def _follow(self, grey: np.ndarray) -> float:
        """Find all corners again, drop those that are lost, choose others for them; the share that was lost."""
        places, found = _found_again(self._grey, grey, self._ways)
        lost = 1 - float(found.mean()) if len(found) else 0.0
        oldest = np.unique(np.where(found, _cells(places, grey.shape), -1), return_index=True)[1]
        kept = np.sort(oldest[found[oldest]])  # one of each cell: those that came first come first
        fresh = _corners(grey, besides=places[kept])
        ways = np.full((len(self._ways) + 1, len(kept) + len(fresh), 2), np.nan, np.float32)
        ways[:-1, : len(kept)] = self._ways[:, kept]
        ways[-1] = np.concatenate([places[kept], fresh])
        self._ways = ways[-_MEMORY - 1 :]
        return lost

    def _judge(self, lost: float) -> None:
        columns, looks = np.arange(self._ways.shape[1]), len(self._ways)
        age = np.isfinite(self._ways[..., 0]).sum(axis=0) - 1
        chosen = looks - 1 - age
        origin, early = self._ways[chosen, columns], self._ways[np.minimum(chosen + _AGE, looks - 1), columns]
        far = _FAR * _SIDE
        left = np.hypot(*(self._ways[-1] - origin).T) > far
        stayed = ~left & (age >= _AGE)
        known = left & (age > _AGE) & (np.hypot(*(early - origin).T) <= far)  # stayed for a second, and then left
        enough = left.sum() + stayed.sum() >= _ENOUGH
        if (left.sum() >= _PICTURE and left.sum() > stayed.sum()) or (len(age) >= _MANY and lost > _LOST):
            if self._for == 0:
                passing = self._stood_still and known.sum() < max(_ENOUGH, _KNOWN * left.sum())
                self._needed, self._began = (_PASSING if passing else _LOOKS), self._last
            self._for, self._against = self._for + 1, 0
            if self._for >= self._needed and not self.moves:
                self.moves, self._stood_still = True, False
                start = max(0.0, self._began - _LOOKS * _EVERY)
                if self._spans and start <= self._spans[-1][1] + _PAUSE:
                    start = self._spans.pop()[0]
                self._spans.append((start, self._last))
        else:
            self._for, self._against = 0, self._against + 1
            if enough:
                self._stood_still = True
            if self._against >= _LOOKS and stayed.sum() >= _ENOUGH:
                self.moves = False


def _levelled(picture: np.ndarray) -> np.ndarray:
    """The picture in small and grey, with the same contrast everywhere: light that changes leaves it as it is."""
    step = max(1, max(picture.shape[:2]) // (4 * _SIDE))  # of a large one only some pixels: it saves most of the time
    picture = np.ascontiguousarray(picture[::step, ::step])
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    small = cv2.resize(
        picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    off = grey - cv2.blur(grey, _AROUND)
    spread = np.sqrt(np.maximum(cv2.blur(off * off, _AROUND), 0))  # sums in passing may fall below
    levelled: np.ndarray = np.clip(128 + 48 * off / (spread + 4), 0, 255).astype(np.uint8)
    return levelled


def _found_again(before: np.ndarray | None, now: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the corners of the last look are now, (corners, 2), and which of them were found: they lead back to where
    they came from, and lie inside the picture."""
    if before is None or ways.shape[1] == 0:
        return np.empty((0, 2), np.float32), np.empty(0, bool)
    here = ways[-1][:, None]
    there, went = _flow(before, now, here)
    back, came = _flow(now, before, there)
    places = there[:, 0]
    inside = ((places >= 2) & (places < np.array(now.shape[::-1]) - 2)).all(axis=1)
    same = np.abs(back - here).max(axis=(1, 2)) < 0.5
    return places, inside & same & (went[:, 0] == 1) & (came[:, 0] == 1)


def _flow(before: np.ndarray, now: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where places (corners, 1, 2) of one picture are in the other one, and (corners, 1) 1 where that was found."""
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.02)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before, now, places, places.copy(), winSize=(11, 11), maxLevel=3, criteria=until
    )
    return np.asarray(there), np.asarray(found)


def _cells(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The number of the grid's cell that each place (x, y) lies in."""
    columns, rows = (np.clip(places, 0, None) // _cell(shape)).astype(int).T
    cells: np.ndarray = np.minimum(rows, _GRID[1] - 1) * _GRID[0] + np.minimum(columns, _GRID[0] - 1)
    return cells


def _corners(grey: np.ndarray, *, besides: np.ndarray) -> np.ndarray:
    """The best corner (x, y) of each cell that holds none of `besides`; cells without any structure have none."""
    width, height = _cell(grey.shape)
    columns, rows = _GRID
    if min(grey.shape) < max(_GRID):
        return np.empty((0, 2), np.float32)
    strength = cv2.cornerMinEigenVal(grey, 5)[: rows * height, : columns * width]
    strength = strength.reshape(rows, height, columns, width).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    best = strength.argmax(axis=1)
    free = strength.max(axis=1) > _CORNER
    free[_cells(besides, grey.shape)] = False
    cells, best = np.flatnonzero(free), best[free]
    return np.stack([cells % columns * width + best % width, cells // columns * height + best // width], axis=1).astype(
        np.float32
    )


def _cell(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of a cell in pixels."""
    return max(1, shape[1] // _GRID[0]), max(1, shape[0] // _GRID[1])
