"""What everything that frames come from has in common: a name, a kind, a fingerprint, and frames in their order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Literal, Self

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import open_regular
from reid_lightning.search.records import Frame


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
    """When the video began, in seconds since 1970, from its creation_time tag; None: unknown. Of a live stream without
    the tag: when it was opened."""
    warning: str | None = None
    ahead: int = 2
    """Frames of it that may be in memory between two steps of the work."""

    @property
    def in_video(self) -> bool:
        """Whether its frames have a time; else they are pictures that stand for themselves."""
        return self.kind in ("video", "stream")

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """16 hex digits over the file's bytes; of a folder over names and bytes. Of a URL: over the pixels of a
        picture; over address (without password), size and duration of a recording; over address and time of opening of
        a live stream."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def close(self) -> None:
        """Let go of the file or the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def file_fingerprint(path: Path) -> str:
    """16 hex digits over its bytes. ReIDError: it cannot be read."""
    try:
        with open_regular(path) as file:
            return file_digest(file, lambda: blake2b(digest_size=8)).hexdigest()
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror}.") from error
