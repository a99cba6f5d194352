"""One plate reader for the threads of several cameras."""

from __future__ import annotations

from threading import Lock

import numpy as np

from reid_lightning.search.plates import PlateReader, PlateReading


class LockedReader:
    """Reads one picture at a time: a reader keeps what it was called with."""

    def __init__(self, reader: PlateReader) -> None:
        self._reader, self._lock = reader, Lock()
        self.name, self.patterns = reader.name, reader.patterns

    def read(self, picture: np.ndarray) -> list[PlateReading]:
        """As `PlateReader.read`."""
        with self._lock:
            return self._reader.read(picture)
