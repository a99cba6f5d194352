"""Frames from a picture, a folder of pictures, a video file or a camera's URL, all read alike.

What cannot be read is an error when the source is opened; damage further on ends in a `warning`.
"""

from __future__ import annotations

import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from reid_lightning.data.images import IMAGE_SUFFIXES, load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Frame

URL_SCHEMES = ("rtsp", "rtsps", "http", "https")
MAX_PIXELS = 100_000_000
"""A video's frames may be no larger: a damaged header can promise any size."""

# Containers of one recording. Playlists, which make libav open other files and addresses, and text, which it would draw
# as letters, are not among them.
_FILE_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv,m4v,h264,hevc,mpegvideo,mjpeg,mpjpeg,ivf,obu,nut,gif,wtv,rm,y4m"
)
_DECODE_ERRORS = (av.error.FFmpegError, ValueError, EOFError)
_TOLERATED = 0.02  # share of frames that a container may promise too many without being called cut short


class Source(ABC):
    """What frames come from: a context manager, and an iterable of `Frame` that can be gone through once.

    `warning` says, after the last frame, what could not be read, and is None where all was.
    """

    name: str
    kind: Literal["picture", "folder", "video", "stream"]
    every: int
    length: int | None
    """Frames that are going to come, as the container says (it may be wrong); None: nobody knows."""
    frames_per_second: float | None
    """Of the video itself: with `every=n` an n-th of that many come. None for pictures, or unknown."""
    start: float | None
    """When the video began, in seconds since 1970, from its creation_time tag; None: unknown. Of a stream without the
    tag: when it was opened."""
    warning: str | None = None

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits over the file's bytes; of a folder over names and bytes; of a stream over URL and time of
        opening."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_source(source: str | Path, *, every: int = 1, timeout: float = 10.0, threads: int = 1) -> Source:
    """Open a picture, a folder of pictures, a video file or a camera's URL, and read its first frame.

    Args:
        source: a path, or an address that begins with rtsp://, rtsps://, http:// or https://.
        every: give every n-th frame only (frames keep their numbers).
        timeout: seconds to wait for a URL to answer, and for each of its frames.
        threads: threads that decode video; 0: as many as libav likes.

    Raises:
        ReIDError: it does not exist, is no picture or video, holds no frame, or does not answer.
    """
    if every < 1:
        raise ReIDError(f"every is {every}; expected 1 (each frame) or more.")
    if timeout <= 0:
        raise ReIDError(f"timeout is {timeout}; expected a number of seconds above 0.")
    address = str(source)
    if "://" in address:
        if address.split("://")[0].lower() not in URL_SCHEMES:
            schemes = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
            raise ReIDError(f"source is {address}; expected a path, or an address that begins with {schemes}.")
        return VideoSource(address, every=every, timeout=timeout, threads=threads)
    path = Path(source)
    if not path.exists():
        raise ReIDError(f"source is {path}, which does not exist; expected a picture, a folder, a video or a URL.")
    if path.is_dir():
        return PictureSource(path, every=every)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return PictureSource(path, every=every)
    return VideoSource(path, every=every, timeout=timeout, threads=threads)


class PictureSource(Source):
    """A picture, or the pictures below a folder in the order of their paths; names that begin with a dot do not count.

    Pictures of a folder that cannot be read are left out and named in `warning`.
    """

    frames_per_second = None
    start = None

    def __init__(self, path: Path, *, every: int = 1) -> None:
        self.name, self.every = path.resolve().name or str(path), every
        self.kind = "folder" if path.is_dir() else "picture"
        self._root = path
        self._paths = _pictures_below(path) if path.is_dir() else [path]
        if not self._paths:
            endings = ", ".join(IMAGE_SUFFIXES)
            raise ReIDError(f"The folder {path} holds no picture ({endings}); videos are given one at a time.")
        self._first = load_image(path) if self.kind == "picture" else None
        self.length = math.ceil(len(self._paths) / every)

    @cached_property
    def fingerprint(self) -> str:
        if self.kind == "picture":
            return _fingerprint(self._root)
        digest = blake2b(digest_size=8)
        for path in self._paths:
            digest.update(f"{path.relative_to(self._root).as_posix()}\0{_fingerprint(path)}\n".encode(errors="replace"))
        return digest.hexdigest()

    def __iter__(self) -> Iterator[Frame]:
        bad: list[str] = []
        for number in range(0, len(self._paths), self.every):
            path = self._paths[number]
            try:
                picture = np.asarray(self._first or load_image(path))
            except ReIDError as error:
                bad.append(str(error))
                continue
            yield Frame(picture, number, path=path)
        if len(bad) == self.length:
            raise ReIDError(f"None of the {len(bad):,} pictures in {self._root} can be read. {bad[0]}")
        if bad:
            self.warning = f"{len(bad):,} of the {self.length:,} pictures in {self._root} were left out. {bad[0]}"

    def close(self) -> None:
        """Pictures are closed as soon as they are read."""


class VideoSource(Source):
    """A video file, or what a camera sends. Frames are turned upright as the container says."""

    def __init__(self, address: Path | str, *, every: int = 1, timeout: float = 10.0, threads: int = 1) -> None:
        self.kind = "stream" if isinstance(address, str) else "video"
        self._where = re.sub(r"(?<=://)[^/]*@", "", str(address))  # a password is nobody's business
        self.name, self.every = self._where if self.kind == "stream" else Path(address).name, every
        self._address, self._opened = address, time.time()
        # rtsp over UDP loses packets, and with them pictures
        options = {"rtsp_transport": "tcp"} if self.kind == "stream" else {"format_whitelist": _FILE_FORMATS}
        try:
            self._container = av.open(
                str(address), timeout=timeout if self.kind == "stream" else None, container_options=options
            )
        except _DECODE_ERRORS as error:
            raise ReIDError(self._cannot_open(error, timeout)) from error
        try:
            self._prepare(threads)
        except BaseException:
            self.close()
            raise

    def _prepare(self, threads: int) -> None:
        if not self._container.streams.video:
            raise ReIDError(f"{self._where} holds no video; expected a video or a picture.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_count = threads
        self._stream.thread_type = "NONE" if threads == 1 else "AUTO"
        self._damage: str | None = None
        self._reformatter = VideoReformatter()
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.frames_per_second = float(rate) if rate and 0 < rate < 1000 else None
        frames = self._stream.frames or round((self._duration() or 0.0) * (self.frames_per_second or 0.0))
        self.length = math.ceil(frames / self.every) if frames > 0 else None
        self.start = _creation_time(self._container) or (self._opened if self.kind == "stream" else None)
        decoded = self._decode()
        try:
            first = next(decoded)
        except StopIteration:
            reason = f": {self._damage}" if self._damage else ""
            raise ReIDError(f"{self._where} holds not a single frame that can be decoded{reason}.") from None
        self._frames = chain([first], decoded)

    @cached_property
    def fingerprint(self) -> str:
        if isinstance(self._address, Path):
            return _fingerprint(self._address)
        return blake2b(f"{self._address} {self._opened!r}".encode(), digest_size=8).hexdigest()

    def __iter__(self) -> Iterator[Frame]:
        number, seconds = -1, 0.0
        damaged_after: tuple[int, float] | None = None
        origin: float | None = None
        for number, frame in enumerate(self._frames):
            if self._damage and damaged_after is None:
                damaged_after = (number - 1, seconds)
            if frame.time is not None:
                origin = frame.time if origin is None else origin
                seconds = frame.time - origin
            elif self.frames_per_second:
                seconds = number / self.frames_per_second
            if number % self.every == 0:
                yield Frame(self._pixels(frame), number, seconds)
        self._note_damage(number, seconds, damaged_after)

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames in order; a packet that cannot be decoded is left out, a container that cannot be read on ends it. The
        first such reason is in `_damage`."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except _DECODE_ERRORS as error:
                self._damage = self._damage or _reason(error)
                packet = None
            try:
                frames = self._stream.decode(packet)  # None: what the decoder still holds
            except EOFError:  # it was already emptied by the demuxer's own last packet
                frames = []
            except _DECODE_ERRORS as error:
                self._damage, frames = self._damage or _reason(error), []
            for frame in frames:
                if frame.width * frame.height > MAX_PIXELS:
                    raise ReIDError(
                        f"{self._where} has frames of {frame.width}x{frame.height} pixels; expected at most "
                        f"{MAX_PIXELS / 1e6:.0f} megapixels. Scale the video down."
                    )
                yield frame
            if packet is None:
                return

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        picture = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        turns = round(frame.rotation / 90) % 4  # counter-clockwise, like numpy's
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture

    def _note_damage(self, last: int, seconds: float, damaged_after: tuple[int, float] | None) -> None:
        """Set `warning` if something was left out, or if frames are missing at the end."""
        promised, duration = self._stream.frames, self._duration()
        missing = promised - (last + 1) if promised else 0
        if self._damage:
            number, at = damaged_after or (last, seconds)
            self.warning = f"{self.name} is damaged after frame {number} ({at:.1f} s): {self._damage}."
        elif missing > max(2, _TOLERATED * promised):
            self.warning = (
                f"{self.name} is damaged after frame {last} ({seconds:.1f} s): {missing:,} frames are missing."
            )
        elif not promised and duration is not None and duration - seconds > max(2.0, _TOLERATED * duration):
            self.warning = f"{self.name} ends after frame {last} ({seconds:.1f} s) and promised {duration:.1f} s."
        elif self.kind == "stream" and duration is None:
            self.warning = f"{self.name} stopped sending after frame {last} ({seconds:.1f} s)."

    def _duration(self) -> float | None:
        """Seconds of video that the container promises."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    def _cannot_open(self, error: Exception, timeout: float) -> str:
        if self.kind == "stream":
            return f"{self._where} cannot be opened within {timeout:g} s: {_reason(error)}. Check address and network."
        return (
            f"{self._where} is neither a picture nor a video that can be read: {_reason(error)}. (An mp4 file that "
            "was cut off looks like this, too: its index comes last.)"
        )


def _pictures_below(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def _fingerprint(path: Path) -> str:
    digest = blake2b(digest_size=8)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _creation_time(container: av.container.InputContainer) -> float | None:
    tag = container.metadata.get("creation_time")
    try:
        moment = datetime.fromisoformat(tag.replace("Z", "+00:00")) if tag else None
    except ValueError:
        return None
    if moment is None or moment.year < 1980:  # cameras without a clock write the container format's epoch, 1904 or 1970
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
