"""What a player shows of a container: which stream, and its frames progressive, upright, with square pixels, in RGB.

A decoder gives what is stored. What a person sees follows from what is stored beside it: a display matrix (which way
is up, and whether it is mirrored), the shape of a pixel, the transfer function, whether lines come from two moments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from reid_lightning.data.images.colours import BACKGROUND
from reid_lightning.errors import ReIDError, extra

with extra("search"):
    import av
    import av.error
    from av.sidedata.sidedata import Type as SideDataType
    from av.stream import Disposition
    from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter


MOST_ANAMORPHIC = 4
"""Pixels that are said to be longer, or higher, by more than this are taken for square: no camera has them."""

_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ and HLG, which look grey where nobody translates them


_NEVER_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails


def shown_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The one that a player starts with: of those flagged as default the one with the most pixels; never a cover, a
    preview of a single frame beside a video, or what nothing here decodes beside what is. None: no video."""
    streams = [one for one in container.streams.video if not one.disposition & _NEVER_SHOWN]
    moving = [one for one in streams if one.frames != 1]

    def rank(stream: av.VideoStream) -> tuple[bool, bool, int]:
        known = stream.codec_context is not None
        area = stream.width * stream.height if known else 0
        return known, bool(stream.disposition & Disposition.default), area

    return max(moving or streams, key=rank, default=None)


@dataclass(frozen=True)
class Orientation:
    """How the stored picture is laid out before it is shown: first transposed, then mirrored."""

    transposed: bool = False
    mirrored: bool = False  # left and right change places
    upside_down: bool = False  # top and bottom do
    exact: bool = True  # False: the matrix asks for an angle between quarter turns

    @classmethod
    def of_matrix(cls, matrix: np.ndarray) -> Orientation:
        """That of a display matrix, 9 numbers (a b u, c d v, x y w), which moves the point (x, y) to
        (a x + c y, b x + d y), y downwards (ISO 14496-12, 6.2.2); of the nearest quarter turn where it is none."""
        (a, b), (c, d) = matrix.reshape(3, 3)[:2, :2].astype(float)
        straight, crossed = abs(a) + abs(d), abs(b) + abs(c)
        exact = min(straight, crossed) <= 0.02 * max(straight, crossed)  # about a degree
        if crossed > straight:
            return cls(True, c < 0, b < 0, exact)
        return cls(False, a < 0, d < 0, exact)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """`picture`: (height, width, 3)."""
        if self.transposed:
            picture = picture.transpose(1, 0, 2)
        picture = picture[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(picture)


class VideoDisplay:
    """Turns the frames of one stream into pictures.

    `notes` says in words what could not be shown as it was meant, once each.

    Args:
        stream: what the frames were decoded from.
        max_pixels: a picture has no more, whatever shape its pixels are said to have.
        square: False: pixels are taken for square, as everybody does with single pictures.
    """

    def __init__(self, stream: av.VideoStream, *, max_pixels: int, square: bool = True) -> None:
        self.notes: list[str] = []
        self._stream = stream
        self._max_pixels = max_pixels
        self._square = square
        container, coded = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
        # what the container says holds throughout; what the coded stream says may change with it
        self._container_ratio = None if container == coded else container
        self._ratio: Fraction | None = None
        self._orientation = Orientation()
        self._oriented: tuple[int, int, int] | None = None
        self._reformatter = VideoReformatter()

    def check(self, frame: av.VideoFrame) -> None:
        """ReIDError: what has pixels like these cannot be turned into RGB."""
        try:
            self._reformatter.reformat(av.VideoFrame(16, 16, frame.format.name), format="rgb24")
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_convertible(frame) from error

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """(height, width, 3), RGB, uint8.

        Raises:
            ReIDError: its pixels are in a format that cannot be turned into RGB.
        """
        self._look_at_matrix(frame)
        if frame.interlaced_frame and self._stream.codec_context.name in _FIELDS_BY_THEMSELVES:
            self._note("is interlaced, with every second line in a frame of its own; they were taken as they are")
        see_through = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        try:
            picture = self._reformatter.reformat(
                frame, width=self._width(frame), format="rgba" if see_through else "rgb24", **_tones(frame)
            ).to_ndarray()
        except (av.error.FFmpegError, ValueError) as error:
            raise _not_convertible(frame) from error
        return self._orientation.apply(_opaque(picture) if see_through else picture)

    def pass_over(self, frame: av.VideoFrame) -> None:
        """Of a frame that is not shown, take what it says of those after it."""
        if frame.key_frame:
            self._look_at_matrix(frame)
            self._width(frame)

    def _look_at_matrix(self, frame: av.VideoFrame) -> None:
        """The matrix of the container comes with every frame; one in the coded stream with key frames, and it holds
        until the next."""
        now = frame.width, frame.height, frame.rotation
        if self._oriented is not None and (now == self._oriented or not frame.key_frame):
            return  # a frame whose side data was asked for stays in memory until Python looks for circles
        self._oriented = now
        data: Any = frame.side_data.get(SideDataType.DISPLAYMATRIX.name)
        if data is None:
            self._orientation = Orientation()
            return
        matrix = np.frombuffer(bytes(data), np.int32, 9)
        self._orientation = Orientation.of_matrix(matrix)
        if not self._orientation.exact:
            angle = round(math.degrees(math.atan2(matrix[1], matrix[0])))
            self._note(f"is to be turned by {angle} degrees, and was turned to the nearest quarter")

    def _width(self, frame: av.VideoFrame) -> int:
        """Pixels that a line has when they are square."""
        if frame.key_frame or self._ratio is None:  # the decoder may have read further than this frame
            self._ratio = self._container_ratio or self._stream.codec_context.sample_aspect_ratio or Fraction(1)
        ratio = self._ratio
        if not self._square or ratio == 1 or ratio <= 0:
            return frame.width
        width = max(1, round(frame.width * ratio))
        if not Fraction(1, MOST_ANAMORPHIC) <= ratio <= MOST_ANAMORPHIC or width * frame.height > self._max_pixels:
            self._note(f"says that its pixels are {ratio.numerator}:{ratio.denominator}, which was not believed")
            return frame.width
        return width

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


_ALL_LINES_OF_ONE_MOMENT = ("png", "apng", "gif")  # "interlaced" is the order in which these are stored
_FIELDS_BY_THEMSELVES = ("hevc", "vvc")  # each is a frame of its own


def progressive(frames: Iterator[av.VideoFrame], *, codec: str) -> Iterator[av.VideoFrame]:
    """As many frames at the same times, those flagged as interlaced without the comb of their two moments.

    From the first such frame on each comes when the next is known; before it they pass untouched.
    """
    if codec in (*_ALL_LINES_OF_ONE_MOMENT, *_FIELDS_BY_THEMSELVES):
        yield from frames
        return
    graph, made_for = None, None
    for frame in frames:
        made_of = frame.width, frame.height, frame.format.name
        if graph is not None and made_of != made_for:
            yield from _pulled(graph, last=True)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, made_for = _deinterlacer(frame), made_of
        if graph is None:
            yield frame
            continue
        graph.vpush(frame)
        yield from _pulled(graph)
    if graph is not None:
        yield from _pulled(graph, last=True)


def _deinterlacer(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")  # BBC's weave of w3fdif and yadif
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _pulled(graph: av.filter.Graph, *, last: bool = False) -> Iterator[av.VideoFrame]:
    if last:
        graph.vpush(None)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _unknown_side_data(cls: type[SideDataType], value: object) -> Any:
    """PyAV 18 names the side data of FFmpeg 7, and lists none of a frame that has any newer beside it: EXIF of a JPEG,
    the views of a spatial video."""
    member: Any = object.__new__(cls)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return member


SideDataType._missing_ = classmethod(_unknown_side_data)  # type: ignore[assignment]


def _not_convertible(frame: av.VideoFrame) -> ReIDError:
    return ReIDError(
        f"its pixels ({frame.format.name}) cannot be turned into RGB here. Convert the video: "
        "ffmpeg -i <video> -pix_fmt yuv420p <other.mp4>."
    )


def _tones(frame: av.VideoFrame) -> dict[str, int]:
    """For `reformat`: what is brighter than a screen shows, and in other colours, is brought into what it does."""
    if frame.color_trc not in _HDR:
        return {}
    return {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}


def _opaque(picture: np.ndarray) -> np.ndarray:
    """`picture`: (height, width, 4) -> (height, width, 3), put on `BACKGROUND`."""
    colours, alpha = picture[..., :3], picture[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colours)
    share = alpha.astype(np.uint16)
    mixed = colours * share + np.array(BACKGROUND, np.uint16) * (255 - share)
    return ((mixed + 127) // 255).astype(np.uint8)
