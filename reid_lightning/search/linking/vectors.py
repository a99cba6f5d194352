"""The embeddings of all sightings of a gallery, read once from its store: means in memory, pictures in a file without
a name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from reid_lightning.search.records import VectorRecord

MOST_PICTURES = 16
"""Of a sighting that are looked at, the first ones by id."""


class SightingVectors:
    """Embeddings of the pictures of sightings.

    Attributes:
        ids: (N,) of the sightings that have any, sorted.
        means: (N, dim) float32: of each the mean of its pictures' embeddings, not normalised.

    Args:
        pieces: as `VectorStore.scan` gives them.
        wanted: sightings; others are left out.
        dim: of an embedding.
        folder: where there is room for 2 bytes a number of every picture; the file has no name there.
    """

    def __init__(
        self,
        pieces: Iterable[tuple[Sequence[VectorRecord], np.ndarray]],
        *,
        wanted: Iterable[str],
        dim: int,
        folder: Path,
    ) -> None:
        numbers = {name: number for number, name in enumerate(sorted(set(wanted)))}
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # open as long as this object lives
        names: list[str] = []
        owners: list[int] = []
        for records, vectors in pieces:
            rows = [row for row, record in enumerate(records) if record.sighting in numbers]
            self._file.write(np.ascontiguousarray(vectors[rows], np.float16).tobytes())
            names.extend(records[row].id for row in rows)
            owners.extend(numbers[records[row].sighting] for row in rows)
        self._file.flush()
        shape = (len(names), dim)
        self._rows = np.memmap(self._file, np.float16, "r", shape=shape) if names else np.empty(shape, np.float16)
        owner = np.array(owners, np.int64)
        order = np.lexsort((np.array(names), owner)) if names else np.empty(0, np.int64)
        present, starts, counts = np.unique(owner[order], return_index=True, return_counts=True)
        known = list(numbers)
        self.ids = [known[number] for number in present]
        self._order, self._starts, self.counts = order, starts, np.minimum(counts, MOST_PICTURES)
        self.means = np.empty((len(self.ids), dim), np.float32)
        for number in range(len(self.ids)):
            self.means[number] = self.pictures(np.array([number]))[0].mean(axis=0)

    def pictures(self, numbers: np.ndarray) -> np.ndarray:
        """(numbers, pictures, dim) float32 of sightings with equally many pictures, by their places in `ids`."""
        places = self._starts[numbers][:, None] + np.arange(self.counts[numbers[0]])
        found: np.ndarray = self._rows[self._order[places]].astype(np.float32)
        return found
