"""Frames from a picture, a folder of pictures, a video file or a camera's URL, all read alike.

What cannot be read is an error when the source is opened; damage further on ends in a `warning`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from reid_lightning.data.images import load_image
from reid_lightning.data.picture_formats import IMAGE_SUFFIXES
from reid_lightning.errors import ReIDError
from reid_lightning.masking import without_password
from reid_lightning.regular_files import check_regular
from reid_lightning.search.records import Frame
from reid_lightning.search.source_base import Source, file_fingerprint
from reid_lightning.search.video_source import VideoSource

__all__ = ["URL_SCHEMES", "PictureSource", "Source", "VideoSource", "open_source"]

URL_SCHEMES = ("rtsp", "rtsps", "http", "https")


def open_source(source: str | Path, *, every: int = 1, timeout: float = 10.0, threads: int = 1) -> Source:
    """Open a picture, a folder of pictures, a video file or a URL, and read its first frame.

    What an http address gives is a `video` where its duration is known, a `picture` where it is a single one, and else
    a live `stream`, as everything is that comes by rtsp.

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
            raise ReIDError(
                f"source is {without_password(address)}; expected a path, or an address that begins with {schemes}."
            )
        return VideoSource(address, every=every, timeout=timeout, threads=threads)
    path = Path(address)
    if not path.exists():
        shown = without_password(address)  # an address with a slash too few is taken for a path
        raise ReIDError(f"source is {shown}, which does not exist; expected a picture, a folder, a video or a URL.")
    try:
        check_regular(path)
    except OSError as error:
        what = f"source is {path}: {error.strerror}"
        raise ReIDError(f"{what}; expected a picture, a folder, a video or a URL.") from error
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
            return file_fingerprint(self._root)
        digest = blake2b(digest_size=8)
        for path in self._paths:
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
            raise ReIDError(f"None of the {len(bad):,} pictures in {self._root} can be read. {bad[0]}")
        if bad:
            self.warning = f"{len(bad):,} of the {self.length:,} pictures in {self._root} were left out. {bad[0]}"

    def close(self) -> None:
        """Pictures are closed as soon as they are read."""


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
