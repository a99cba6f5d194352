"""The crops of a gallery as records of a vector store, read and embedded some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.listing import crops_of, problems_of
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sighting_index import MANY
from reid_lightning.search.records import OnProgress, Sighting, VectorRecord

Embed = Callable[[Sequence[Image.Image]], np.ndarray]
"""Pictures to vectors (N, dim) of length 1."""
BATCH = 256
"""Crops embedded and stored at a time."""

Item = TypeVar("Item")


@dataclass
class Crops:
    """Those of a gallery, and what embeds them; without it (None) crops without vectors are an error."""

    gallery: GalleryReader
    embed: Embed | None

    def all(self, problems: list[str]) -> Iterator[tuple[VectorRecord, str]]:
        """Every crop of the gallery with its file's name, as the index of sidecars knows them after a look."""
        index = self.gallery.locations.index
        index.look(MANY)
        problems += problems_of(index, self.gallery.root)
        yield from crops_of(index, problems.append)

    def embed_all(
        self,
        crops: Sequence[tuple[VectorRecord, str]],
        problems: list[str],
        on_progress: OnProgress,
        overtaken: list[VectorRecord],
    ) -> Iterable[tuple[list[VectorRecord], np.ndarray]]:
        """Crops that cannot be read become problems, or `overtaken` where they were moved or deleted meanwhile."""
        done = 0
        for part in parts(crops, BATCH):
            records, pictures = [], []
            for record, name in part:
                path = self.gallery.crop_path(record.vehicle, name)
                try:
                    pictures.append(load_image(path))
                    records.append(record)
                except ReIDError as error:
                    if path.exists():
                        problems.append(str(error))
                    else:
                        overtaken.append(record)
            if records:
                yield records, self.embedded(pictures)
            done += len(part)
            on_progress(done, len(crops))

    def pictures_of(self, sighting: Sighting) -> list[Image.Image] | None:
        """The crops of a sighting, wherever they are by now; None: it was deleted meanwhile."""
        again = False
        while True:
            try:
                return [load_image(path) for path in self.gallery.crop_paths(sighting)]
            except ReIDError:
                now = self.gallery.find(sighting.id)
                if now is None:
                    return None
                if now == sighting and again:  # it has not moved, it is damaged
                    raise
                again, sighting = now == sighting, now

    def embedded(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """(N, dim) float32. ReIDError: there is no model."""
        if self.embed is None:
            raise ReIDError("Crops are without vectors, and there is no model to embed them with; give a bundle.")
        return np.asarray(self.embed(pictures), dtype=np.float32)


def records_of(sighting: Sighting) -> list[VectorRecord]:
    """What the store keeps of a sighting as the gallery gives it: one record for each crop, in their order. Its time is
    when the vehicle came into view."""
    return [
        VectorRecord(
            f"{sighting.id}-{number}", sighting.id, sighting.vehicle, sighting.camera, sighting.type, sighting.start
        )
        for number in range(len(sighting.crops))
    ]


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """So many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
