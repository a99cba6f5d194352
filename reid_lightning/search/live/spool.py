"""Hits on the disk until they are delivered, and marks of the sightings that are being compared with watch lists.

Whatever is there was written whole and flushed; whoever is killed leaves what the next start goes on with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.atomic import UNFINISHED, flush_folder, locked, save
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import is_plain_name

_CHECKING = "checking"
_ENDING = ".json"
_OLD = 600.0  # seconds
_PATIENCE = 150.0


@dataclass(frozen=True)
class Waiting:
    """A hit that waits: its id, and its file."""

    id: str
    path: Path

    def content(self) -> bytes | None:
        """What is to be sent; None: it was dropped meanwhile."""
        with suppress(FileNotFoundError):
            return self.path.read_bytes()
        return None

    def delivered(self) -> None:
        """It needs not wait any more. A kill before this has it delivered twice, under one id."""
        self.path.unlink(missing_ok=True)


class Spool:
    """A folder with one for each receiver; several processes write, one delivers.

    Args:
        root: made where there is none.
        receivers: names of folders: webhook, mqtt.
        most: hits that wait for one receiver; the oldest are dropped.
        writer: the number of the process that writes; marks of sightings are its own.

    Raises:
        ReIDError: it cannot be written.
    """

    def __init__(self, root: Path, receivers: Sequence[str], *, most: int, writer: int = 0) -> None:
        self.root, self.receivers, self._most = root, tuple(receivers), most
        self._marks = root / _CHECKING / str(writer)
        try:
            for folder in (self._marks, *(root / name for name in self.receivers)):
                folder.mkdir(parents=True, exist_ok=True)
            flush_folder(root)
        except OSError as error:
            raise ReIDError(f"the spool {root} cannot be written: {error.strerror or error}.") from error

    def clean(self) -> None:
        """Remove what writers that were killed some time ago left half-written."""
        for path in self.root.rglob(f".*{UNFINISHED}"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _OLD:
                    path.unlink()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else is this writer meanwhile; one whose command was killed may still be saving what it saw."""
        with locked(_lock(self._marks), seconds=_PATIENCE):
            yield

    def begin(self, sighting: str) -> None:
        """Before a sighting is saved: from now on it will be compared, whatever happens."""
        if not is_plain_name(sighting):
            raise ReIDError(f"the sighting's id is {sighting!r}; expected a name without a folder.")
        self._save(self._marks / sighting, b"")

    def begun(self) -> list[str]:
        """Sightings of this writer that were saved, or not, and not yet compared."""
        return sorted(name for name in os.listdir(self._marks) if not name.startswith("."))

    def take_over(self, writers: int) -> None:
        """Marks of writers that there were once, beyond the first `writers`, become this one's."""
        for folder in (self.root / _CHECKING).iterdir():
            if folder.name.isdecimal() and int(folder.name) >= writers:
                with locked(_lock(folder), seconds=_PATIENCE):
                    for mark in folder.iterdir():
                        mark.replace(self._marks / mark.name)
                    folder.rmdir()

    def done(self, sighting: str) -> None:
        """It was compared, and its hits are here."""
        (self._marks / sighting).unlink(missing_ok=True)

    def put(self, hit: str, content: bytes, *, seen: float) -> int:
        """Keep a hit for every receiver; one that is here already stays one.

        Args:
            hit: its id.
            content: what is sent.
            seen: when, in seconds since 1970, by which hits are delivered in order.

        Returns:
            How many were dropped for want of room.
        """
        dropped = 0
        for name in self.receivers:
            folder = self.root / name
            self._save(folder / f"{round(1000 * max(0.0, seen)):015d}-{hit}{_ENDING}", content)
            names = _names(folder)
            for old in names[: max(0, len(names) - self._most)]:
                with suppress(FileNotFoundError):  # delivered, or dropped by another one
                    (folder / old).unlink()
                    dropped += 1
        return dropped

    def waiting(self, receiver: str) -> list[Waiting]:
        """What is to be delivered to one of them, the oldest first."""
        folder = self.root / receiver
        return [Waiting(name[: -len(_ENDING)].partition("-")[2], folder / name) for name in _names(folder)]

    def _save(self, path: Path, content: bytes) -> None:
        try:
            save(path, content)
            flush_folder(path.parent)
        except OSError as error:
            raise ReIDError(f"{path} cannot be written: {error.strerror or error}. Make room for the spool.") from error


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _names(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(_ENDING) and not name.startswith("."))
