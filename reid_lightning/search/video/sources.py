"""Frames from a picture, a folder of pictures, a video file or a camera's URL, all read alike.

What cannot be read is an error when the source is opened; damage further on ends in a `warning`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from reid_lightning.data.images.counting import counting
from reid_lightning.data.images.files import PictureFiles, find_pictures, no_pictures
from reid_lightning.data.images.formats import format_of, head_of, is_animated
from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.redaction import without_password
from reid_lightning.search.records import Frame
from reid_lightning.search.video.source_base import Source, file_fingerprint
from reid_lightning.search.video.video_addresses import URL_SCHEMES, check_address
from reid_lightning.search.video.video_source import VideoSource
from reid_lightning.untrusted.names import readable, stored_path

__all__ = ["URL_SCHEMES", "PictureSource", "Source", "VideoSource", "check_source", "open_source"]

_ROWS_OF_JPEGS = (".mjpeg", ".mjpg")  # videos that begin like a picture


def open_source(
    source: str | Path,
    *,
    every: int = 1,
    timeout: float = 10.0,
    threads: int = 1,
    allow_redirects: bool = False,
) -> Source:
    """Open a picture, a folder of pictures, a video file or a URL, and read its first frame.

    What an http address gives is a `video` where its duration is known, a `picture` where it is a single one, and else
    a live `stream`, as everything is that comes by rtsp.

    Args:
        source: a path, or an address that begins with rtsp://, rtsps://, http:// or https://.
        every: give every n-th frame only (frames keep their numbers).
        timeout: seconds to wait for a URL to answer, and for each of its frames.
        threads: threads that decode video; 0: as many as libav likes.
        allow_redirects: a URL's answer may lead elsewhere, to any address that this machine reaches: redirects, and
            playlists (HLS, DASH) with their parts and keys.

    Raises:
        ReIDError: it does not exist, is no picture or video, holds no frame, or does not answer.
    """
    if every < 1:
        raise ReIDError(f"every is {every}; expected 1 (each frame) or more.")
    if timeout <= 0:
        raise ReIDError(f"timeout is {timeout}; expected a number of seconds above 0.")
    address = str(source)
    if "://" in address:
        return VideoSource(address, every=every, timeout=timeout, threads=threads, allow_redirects=allow_redirects)
    path = stored_path(Path(), address)
    if not path.exists():
        shown = without_password(address)  # an address with a slash too few is taken for a path
        raise ReIDError(f"{shown} does not exist; expected a picture, a folder, a video or a URL.")
    if path.is_dir() or _is_picture(path):
        return PictureSource(path, every=every)
    return VideoSource(path, every=every, timeout=timeout, threads=threads)


def check_source(source: str, *, every: int = 1) -> None:
    """Before long work: a ReIDError that `open_source` would raise. No address is asked yet, whether it is one is."""
    if "://" in source:
        check_address(source)
    else:
        open_source(source, every=every).close()


def _is_picture(path: Path) -> bool:
    """By what it holds: one that is read, or of which `load_image` says what it is. An animated GIF is a video."""
    try:
        kind = format_of(head_of(path))
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        raise ReIDError(f"{what}; expected a picture, a folder, a video or a URL.") from error
    if path.suffix.lower() in _ROWS_OF_JPEGS:
        return False
    return kind is not None and not (kind == "GIF" and is_animated(path))


class PictureSource(Source):
    """A picture, or the pictures below a folder in the order of their paths; names that begin with a dot do not count.

    Pictures of a folder that cannot be read are left out and named in `warning`, and so are files that are none. Of an
    animation the first picture counts.
    """

    frames_per_second = None
    start = None

    def __init__(self, path: Path, *, every: int = 1) -> None:
        self.name, self.every = readable(path.resolve().name or str(path)), every
        self.kind = "folder" if path.is_dir() else "picture"
        self._root = path
        found = find_pictures(path) if self.kind == "folder" else PictureFiles(path.parent, (path.name,))
        if not found.names:
            raise ReIDError(f"The folder {no_pictures(found)} Videos are given one at a time.")
        self._paths = [found.folder / name for name in found.names]
        self._first = load_image(path) if self.kind == "picture" else None
        self._passed_over = _animated(path) if self.kind == "picture" else found.passed_over
        self.length = math.ceil(len(self._paths) / every)

    @cached_property
    def fingerprint(self) -> str:
        if self.kind == "picture":
            return file_fingerprint(self._root)
        digest = blake2b(digest_size=8)
        with counting(f"reading {self.name}") as count:
            for path in self._paths:
                count()
                digest.update(
                    f"{path.relative_to(self._root).as_posix()}\0{file_fingerprint(path)}\n".encode(errors="replace")
                )
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
            raise ReIDError(f"No picture of the {len(bad):,} in {self._root} can be read. {bad[0]}")
        lines = [] if self._passed_over is None else [f"{self._root}: {self._passed_over}."]
        if bad:
            was = "was" if len(bad) == 1 else "were"
            lines.append(f"{len(bad):,} of the {self.length:,} pictures in {self._root} {was} left out. {bad[0]}")
        self.warning = readable(" ".join(lines)) or None

    def close(self) -> None:
        """Pictures are closed as soon as they are read."""


def _animated(path: Path) -> str | None:
    return "it is an animation, of which the first picture was looked at" if is_animated(path) else None
