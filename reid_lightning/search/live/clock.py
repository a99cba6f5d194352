"""Time as those who watch need it: moments, dates, and a pause that ends when somebody wants to stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from threading import Event


class Clock:
    """The machine's; a test has one of its own, on which hours pass at once."""

    def now(self) -> float:
        """Seconds from some moment on, which nobody sets back."""
        return time.monotonic()

    def date(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wait(self, stop: Event, seconds: float) -> bool:
        """Pause for so long, or until `stop` is set; returns whether it is."""
        return stop.wait(seconds)


@dataclass
class Pauses:
    """Seconds to wait before the next try: `first`, twice as long each time, `longest` at most; `first` again after a
    success."""

    first: float = 1.0
    longest: float = 60.0
    _next: float = field(init=False, default=0.0)

    def next(self) -> float:
        """The one that is due now."""
        now = self._next or self.first
        self._next = min(2 * now, self.longest)
        return now

    def succeeded(self) -> None:
        """What was tried has worked."""
        self._next = 0.0


class Offset:
    """How far our clock is before that of a camera: what arrived with the least delay says it best.

    The least of the last `window` seconds, or up to twice as many: a camera's clock goes a little wrong in a day.
    """

    def __init__(self, *, window: float = 60.0) -> None:
        self._window = window
        self._began = 0.0
        self._now = self._before = math.inf

    def see(self, ours: float, theirs: float) -> None:
        """A frame of the camera's time `theirs` has come, in seconds."""
        if ours - self._began >= self._window:
            self._began, self._before, self._now = ours, self._now, math.inf
        self._now = min(self._now, ours - theirs)

    @property
    def seconds(self) -> float:
        """To be added to a time of the camera's."""
        least = min(self._now, self._before)
        return least if math.isfinite(least) else 0.0
