"""A stream of pictures in memory, as a camera would send them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from toy_clips import scene

from reid_lightning.search.video.sources import VideoSource


class PictureOf:
    """A frame that waits."""

    bytes = 1

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture

    def picture(self) -> np.ndarray:
        return self._picture

    def pass_over(self) -> None:
        """Nothing is kept of it."""


class ToyStream(VideoSource):
    """Sends pictures, 10 a second by its clock, and stops."""

    kind, every, frames_per_second, length, fingerprint, start = "stream", 1, 10.0, None, "0123456789abcdef", None

    def __init__(self, pictures: Sequence[np.ndarray], name: str = "rtsp://toy/1") -> None:
        self.name, self._pictures, self.closed = name, pictures, False

    def unconverted(self) -> Iterator[PictureOf]:
        for number, picture in enumerate(self._pictures):
            waiting = PictureOf(picture)
            waiting.number, waiting.seconds = number, number / 10
            yield waiting
        self.warning = f"{self.name} stopped sending."

    def close(self) -> None:
        self.closed = True


def red_car(frames: int = 20, after: int = 8) -> list[np.ndarray]:
    """It drives by and is gone."""
    return [scene(red=(4 * number, 30)) for number in range(frames)] + [scene()] * after


def write_h264(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    """10 frames a second, as cameras send them: H.264 with a whole picture every second."""
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "g": "10", "bf": "0", "threads": "1"}
        stream = container.add_stream("libx264", rate=10, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
