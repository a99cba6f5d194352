"""A clock on which hours pass at once, and clips that a camera may send."""

from __future__ import annotations

from threading import Event

import pytest

from reid_lightning.search.live.clock import Clock


class FakeClock(Clock):
    """Time passes in its pauses alone; `waited` has them."""

    def __init__(self) -> None:
        self.seconds, self.waited = 1000.0, []

    def now(self) -> float:
        return self.seconds

    def date(self) -> float:
        return 1_767_254_400.0 + self.seconds

    def wait(self, stop: Event, seconds: float) -> bool:
        self.waited.append(seconds)
        self.seconds += seconds
        return stop.is_set()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
