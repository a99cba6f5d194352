"""What a search has found, drawn into its frames as a video: boxes, vehicles, scores and time codes.

A person sees in seconds whether the right vehicle was taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import numpy as np
from PIL import Image, ImageDraw

from reid_lightning.atomic import replacing
from reid_lightning.drawing.fonts import font_for, plain_text
from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.output.results import score_in_words
from reid_lightning.search.records import Box, Frame, Match, time_code

with extra("search"):
    import av
    from av.video.reformatter import ColorRange, Colorspace


COLOURS = ("#1a9850", "#d73027", "#4575b4", "#e08214", "#8073ac", "#01959f", "#c51b7d", "#7f6b00")
_DARK, _LIGHT = "#222222", "white"
_PAD = 3  # pixels around a text
_TICK = Fraction(1, 10_000)  # of a second: times are kept to this, MPEG-4 takes no denominator above 65,535
_SLOWEST = 0.1  # frames a second: the last one is shown for 10 s at most
_ENCODERS: tuple[tuple[Literal["libx264", "mpeg4"], dict[str, str], int], ...] = (
    ("libx264", {"crf": "23", "preset": "veryfast"}, 2 * 86_400),
    ("mpeg4", {"qscale": "4"}, 3_600),
)
"""Names, options, and the longest pause in seconds: mp4 counts the ticks between two frames in 31 bits, MPEG-4 writes a
bit for each second. H.264 plays in every browser; builds of FFmpeg without GPL parts have MPEG-4 only."""


class AnnotatedVideo(ExitStack):
    """Writes frames with their matches drawn in, each at its own time, as H.264 where FFmpeg has it, else MPEG-4.

    Whoever jumps to the `seconds` of a match sees its frame: pauses, changing rates and left-out frames keep their
    lengths. (Pauses of more than two days become two days, in MPEG-4 one hour; frames closer than 0.1 ms move apart.)

    A context manager. The file appears under its name when all frames are written, and not at all after an error or
    without a frame. A side of odd length loses its last line of pixels, which the encoders ask for.

    Args:
        path: a name that ends in a container's ending, such as `.mp4`.
        width, height: of the frames, in pixels.
        frames_per_second: how many come in a second as a rule; of a source read with `every=n` its own divided by n.
            The last frame is shown for as long as that says.
        note: stands beside the time code of every frame.
    """

    def __init__(self, path: str | Path, width: int, height: int, frames_per_second: float, *, note: str = "") -> None:
        if width < 2 or height < 2:
            raise ReIDError(f"a video of {width} x {height} pixels was asked for; expected at least 2 x 2.")
        if not 0 < frames_per_second <= 1000:
            raise ReIDError(f"frames_per_second is {frames_per_second}; expected more than 0, at most 1000.")
        super().__init__()
        self.path = Path(path)
        self._note = note
        self._size = width, height
        self._rate = Fraction(max(frames_per_second, _SLOWEST)).limit_denominator(1001)
        self._duration = max(1, round(1 / self._rate / _TICK))  # of the last frame, in ticks
        self._frames = 0
        self._last = 0  # ticks at which the newest frame is shown
        self._longest_pause = 0  # ticks
        self._left_out = 0  # ticks of pauses that were longer

    def __enter__(self) -> Self:
        if not self.path.parent.is_dir():
            raise ReIDError(f"the annotated video cannot be written: no folder {self.path.parent}.")
        self.enter_context(suppress(_NothingToKeep))
        unfinished = self.enter_context(replacing(self.path))
        try:
            self._container = av.open(str(unfinished.absolute()), "w")
            self.push(self._finish)
            self._stream = self._new_stream(self._container)
        except (av.FFmpegError, ValueError) as error:
            self.__exit__(type(error), error, None)
            raise ReIDError(
                f"the annotated video {self.path} cannot be written ({error}); expected a name such as annotated.mp4."
            ) from error
        return self

    def _finish(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Write what the encoder still holds; after an error and without a frame nothing is kept."""
        try:
            if error is not None or not self._frames:
                raise _NothingToKeep
            self._encode(None)
            self._container.close()
        except BaseException:
            with suppress(av.FFmpegError, ValueError):
                self._container.close()
            if error is None:
                raise

    def add(self, frame: Frame, matches: Sequence[Match]) -> None:
        """Draw the matches of a frame, which are those of its number, and write it. Frames come in their order."""
        width, height = self._size
        if frame.picture.shape != (height, width, 3):
            raise ReIDError(f"frame {frame.number} is {frame.picture.shape}; expected {(height, width, 3)}.")
        drawn = np.asarray(annotate(frame, matches, note=self._note))[: height - height % 2, : width - width % 2]
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._tick(frame.seconds), _TICK
        self._encode(picture)
        self._frames += 1

    def _tick(self, seconds: float) -> int:
        """When the next frame is shown; the first one from the beginning: players cannot agree on an empty one."""
        if not self._frames:
            return 0
        tick = max(self._last + 1, round(seconds / _TICK) - self._left_out)
        too_long = max(0, tick - self._last - self._longest_pause)
        self._left_out += too_long
        self._last = tick - too_long
        return self._last

    def _encode(self, picture: av.VideoFrame | None) -> None:
        """None: there are no more."""
        for packet in self._stream.encode(picture):
            packet.duration = self._duration  # which counts for the last one alone
            self._container.mux(packet)

    def _new_stream(self, container: av.container.OutputContainer) -> av.VideoStream:
        name, options, pause = next(entry for entry in _ENCODERS if entry[0] in av.codecs_available)
        self._longest_pause = round(pause / _TICK)
        stream = container.add_stream(name, rate=self._rate, options=options)
        stream.width, stream.height = (side - side % 2 for side in self._size)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        stream.time_base = context.time_base = _TICK
        context.max_b_frames = 0  # with them mp4 ends a file of changing rate before its last frame is shown
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1  # BT.709, narrow
        return stream


class _NothingToKeep(Exception):
    """No frame was added."""


def annotate(frame: Frame, matches: Sequence[Match], *, note: str = "") -> Image.Image:
    """The frame as a picture: a box wherever something was found, its matches above it, best first; the time code and
    the note in a corner. A vehicle has the same colour everywhere."""
    canvas = Image.fromarray(frame.picture)
    draw = ImageDraw.Draw(canvas)
    size = max(11, round(min(canvas.size) / 40))
    of_box: dict[tuple[float, float, float, float] | None, list[Match]] = {}
    for match in matches:
        of_box.setdefault(match.box, []).append(match)
    for box, found in of_box.items():
        found = sorted(found, key=lambda match: (-match.score, match.vehicle))
        lines = [(f"{plain_text(match.vehicle)} {score_in_words(match)}", colour_of(match.vehicle)) for match in found]
        if box is None:
            _label(draw, (0, canvas.height), lines, size, canvas.size)
            continue
        draw.rectangle(_inside(box, canvas.size), outline=lines[0][1], width=max(2, size // 6))
        _label(draw, (box[0], box[1]), lines, size, canvas.size)
    _label(draw, (0, 0), [(f"{time_code(frame.seconds)}  {note}".rstrip(), _DARK)], size, canvas.size)
    return canvas


def colour_of(vehicle: str) -> str:
    """The same for a name every time, whatever else is in the picture."""
    return COLOURS[hashlib.sha256(vehicle.encode("utf-8", "surrogateescape")).digest()[0] % len(COLOURS)]


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    lines: Sequence[tuple[str, str]],
    font_size: int,
    room: tuple[int, int],
) -> None:
    """White lines on their colours, above `corner` where there is room, and never outside the picture."""
    line_height = sum(font_for("", font_size).getmetrics()) + _PAD
    widths = [font_for(text, font_size).getlength(text) + 2 * _PAD for text, _ in lines]
    height = line_height * len(lines)
    left = max(0.0, min(corner[0], room[0] - max(widths)))
    top = max(0.0, min(corner[1] - height, room[1] - height))
    for (text, colour), width in zip(lines, widths, strict=True):
        draw.rectangle((left, top, left + width, top + line_height - 1), fill=colour)
        draw.text((left + _PAD, top + _PAD // 2), text, fill=_LIGHT, font=font_for(text, font_size))
        top += line_height


def _inside(box: Box, size: tuple[int, int]) -> Box:
    """The box cut at the picture's edges, its corners in order."""
    x1, x2 = sorted((min(max(0.0, box[0]), size[0] - 1.0), min(max(0.0, box[2]), size[0] - 1.0)))
    y1, y2 = sorted((min(max(0.0, box[1]), size[1] - 1.0), min(max(0.0, box[3]), size[1] - 1.0)))
    return x1, y1, x2, y2
