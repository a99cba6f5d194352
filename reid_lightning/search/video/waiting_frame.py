"""A frame that was decoded and is no picture yet: whoever drops it saves half of the work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid_lightning.errors import extra
from reid_lightning.search.video.video_display import VideoDisplay

with extra("search"):
    import av


@dataclass(frozen=True)
class WaitingFrame:
    """A decoded frame that is no picture yet: `number` and `seconds` as in `Frame`."""

    number: int
    seconds: float
    _decoded: av.VideoFrame
    _display: VideoDisplay

    @property
    def bytes(self) -> int:
        """About so many while it waits, as most cameras send it."""
        return 3 * self._decoded.width * self._decoded.height // 2

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB. ReIDError: its pixels cannot be turned into RGB."""
        return self._display.picture(self._decoded)

    def pass_over(self) -> None:
        """It is not wanted; what it says of those after it is kept."""
        self._display.pass_over(self._decoded)
