"""Small videos whose frames say their number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE, COUNT = 10, 30


def draw(number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Red for the left half; the number of the frame as the grey of the right one."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[:, : size[0] // 2, 0] = 255
    picture[:, size[0] // 2 :] = 7 * (number % COUNT) + 20
    return picture


def write_video(path: Path, *, count: int = COUNT, times: list[int] | None = None, **container: object) -> Path:
    """A small video at 10 frames a second; `times` are in 1/1000 s."""
    with av.open(str(path), "w", options=container.pop("options", {})) as out:
        out.metadata.update(container)
        stream = out.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 5
        stream.bit_rate = 2_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts = times[number] if times else 100 * number
            frame.time_base = Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def grey(picture: np.ndarray) -> int:
    """The number that `draw` wrote."""
    return round((float(picture[10:-10, -20:-4].mean()) - 20) / 7)
