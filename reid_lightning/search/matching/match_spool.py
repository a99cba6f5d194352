"""The matches of a search in a file without a name, so that a day of video does not fill the memory."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from reid_lightning.search.records import Match


class MatchSpool(Sequence[Match]):
    """Grows at its end, and is read in any order; 8 bytes of memory a match.

    Args:
        folder: where there is room; the file has no name there and goes with this object.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as this object lives
        self._ends = array("Q", [0])

    def extend(self, matches: Iterable[Match]) -> None:
        """Add them. OSError: the disk is full."""
        self._file.seek(self._ends[-1])
        for match in matches:
            self._file.write(pickle.dumps(match, pickle.HIGHEST_PROTOCOL))
            self._ends.append(self._file.tell())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Match]:
        number = 0
        while number < len(self):
            yield self[number]
            number += 1

    @overload
    def __getitem__(self, number: int) -> Match: ...
    @overload
    def __getitem__(self, number: slice) -> list[Match]: ...
    def __getitem__(self, number: int | slice) -> Match | list[Match]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        place = range(len(self))[number]
        self._file.seek(self._ends[place])
        match: Match = pickle.loads(self._file.read(self._ends[place + 1] - self._ends[place]))
        return match
