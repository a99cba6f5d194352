"""Gallery and vector store as one: what is on disk is embedded, and what has moved or gone there follows here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from reid_lightning.data.images import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.listing import recorded, vehicle_folders
from reid_lightning.search.gallery.stores import VectorStore
from reid_lightning.search.records import Filter, Sighting, VectorRecord

_logger = logging.getLogger(__name__)

Embed = Callable[[Sequence[Image.Image]], np.ndarray]
"""Pictures to vectors (N, dim) of length 1."""
OnProgress = Callable[[int, int], None]
"""Is called with the crops that are done, and all of them."""

_BATCH = 256  # crops embedded and stored at a time
_MOVED = 4096  # records


@dataclass(frozen=True)
class IndexReport:
    """What a `sync` or `rebuild` did, in crops; `problems` are lines about what was left out."""

    embedded: int
    removed: int
    changed: int
    total: int
    problems: tuple[str, ...] = ()


class GalleryIndex:
    """The vectors of a gallery.

    The disk changes first and the store follows, so that a process killed in between leaves what `sync` repairs.

    Args:
        gallery: crops and sidecars.
        store: of the same model as `embed`.
        embed: for crops that come without their vectors; None: such are an error.
    """

    def __init__(self, gallery: Gallery, store: VectorStore, embed: Embed | None = None) -> None:
        self.gallery = gallery
        self.store = store
        self._embed = embed

    def add(self, sighting: Sighting, vectors: np.ndarray | None = None) -> bool:
        """Store the vectors of a sighting that `Gallery.add` has kept, wherever it is now.

        Args:
            sighting: one that is in the store already changes nothing.
            vectors: (crops, dim) of length 1; None: its crops are read and embedded.

        Returns:
            Whether it was not there.
        """
        stored = self.gallery.find(sighting.id)
        if stored is None:
            raise ReIDError(f"The sighting {sighting.id} is not in {self.gallery.root}; add it to the gallery first.")
        records = records_of(stored)
        known = {record.id for part in self.store.records(Filter(vehicles=(stored.vehicle,))) for record in part}
        if all(record.id in known for record in records):
            return False
        if vectors is None:
            vectors = self._embedded([load_image(path) for path in self.gallery.crop_paths(stored)])
        while True:
            self.store.upsert(records_of(stored), vectors)
            now = self.gallery.find(sighting.id)
            if now is None:  # deleted while it was embedded
                self.store.delete([record.id for record in records])
                return False
            if now.vehicle == stored.vehicle:
                return True
            stored = now  # renamed or merged meanwhile

    def sync(self, *, on_progress: OnProgress | None = None) -> IndexReport:
        """Make the store agree with the disk: embed what is missing, remove what is gone, follow what has moved."""
        indexed = {record.id: record for part in self.store.records() for record in part}
        problems: list[str] = []
        wanted: dict[str, VectorRecord] = {}
        missing: list[tuple[VectorRecord, Path]] = []
        changed: list[VectorRecord] = []
        for record, path in self._crops(problems):  # after the store: whoever adds now is on disk before he is there
            wanted[record.id] = record
            if record.id not in indexed:
                missing.append((record, path))
            elif indexed[record.id] != record:
                changed.append(record)
        # what is damaged, or was moved while we read, keeps its vectors until it can be read
        unread = recorded(self.gallery.root, vehicle_folders(self.gallery.root)[0]).keys() - {
            record.sighting for record in wanted.values()
        }
        gone = [
            identifier
            for identifier, record in indexed.items()
            if identifier not in wanted and record.sighting not in unread
        ]
        for part in _parts(gone, _MOVED):
            self.store.delete(part)
        self._move({record.id: record for record in changed}, {indexed[record.id].vehicle for record in changed})
        embedded = 0
        for records, vectors in self._embed_all(missing, problems, on_progress):
            self.store.upsert(records, vectors)
            embedded += len(records)
        self.store.optimize()
        return IndexReport(embedded, len(gone), len(changed), self.store.count(), tuple(problems))

    def rebuild(self, *, on_progress: OnProgress | None = None) -> IndexReport:
        """Embed everything anew; searches see the old vectors until all are there. Works on a store of another model
        that was opened with `any_model=True`."""
        problems: list[str] = []
        crops = list(self._crops(problems))
        self.store.replace(self._embed_all(crops, problems, on_progress))
        later = self.sync()  # what others registered meanwhile
        return replace(later, embedded=later.total, problems=tuple(dict.fromkeys([*problems, *later.problems])))

    def tidy(self) -> None:
        """`VectorStore.optimize`; that it fails is logged, for nothing is lost by it."""
        try:
            self.store.optimize()
        except ReIDError as error:
            _logger.warning("Everything is stored, but its index is not up to date; `sync` mends it. (%s)", error)

    def rename(self, vehicle: str, new: str) -> None:
        """`Gallery.rename`, here too."""
        folder = self.gallery.folder_of(vehicle)
        self._follow(vehicle if folder is None else folder.name, self.gallery.rename(vehicle, new), new)

    def merge(self, vehicle: str, into: str) -> None:
        """`Gallery.merge`, here too."""
        folder = self.gallery.folder_of(vehicle)
        self._follow(vehicle if folder is None else folder.name, self.gallery.merge(vehicle, into), into)

    def delete(self, vehicle: str) -> None:
        """`Gallery.delete`, here too."""
        folder = self.gallery.folder_of(vehicle)
        try:
            self.gallery.delete(vehicle)
        finally:
            if folder is not None and not folder.exists():
                self._remove(Filter(vehicles=(folder.name,)))

    def delete_sighting(self, sighting: Sighting) -> None:
        """`Gallery.delete_sighting`, here too."""
        self.gallery.delete_sighting(sighting)
        self.store.delete([record.id for record in records_of(sighting)])

    def _follow(self, vehicle: str, moved: dict[str, str], new: str) -> None:
        folder = self.gallery.folder_of(new)
        for records, vectors in list(self.store.scan(Filter(vehicles=(vehicle,)))):
            here = [(record, row) for row, record in enumerate(records) if record.sighting in moved]
            if folder is None or not here:
                continue
            renamed = [_moved(record, folder.name, moved[record.sighting]) for record, _ in here]
            self.store.upsert(renamed, vectors[[row for _, row in here]])
            kept = {record.id for record in renamed}
            self.store.delete([record.id for record, _ in here if record.id not in kept])

    def _move(self, changed: dict[str, VectorRecord], vehicles: set[str]) -> None:
        """Give records that are stored new contents, with the vectors they have."""
        for some in _parts(sorted(vehicles), _BATCH):
            for records, vectors in list(self.store.scan(Filter(vehicles=tuple(some)))):
                rows = [row for row, record in enumerate(records) if record.id in changed]
                if rows:
                    self.store.upsert([changed[records[row].id] for row in rows], vectors[rows])

    def _remove(self, where: Filter) -> None:
        for part in list(self.store.records(where)):
            self.store.delete([record.id for record in part])

    def _crops(self, problems: list[str]) -> Iterator[tuple[VectorRecord, Path]]:
        for sighting in self.gallery.sightings(on_problem=problems.append):
            yield from zip(records_of(sighting), self.gallery.crop_paths(sighting), strict=True)

    def _embed_all(
        self, crops: Sequence[tuple[VectorRecord, Path]], problems: list[str], on_progress: OnProgress | None
    ) -> Iterable[tuple[list[VectorRecord], np.ndarray]]:
        """Crops that cannot be read become problems."""
        done = 0
        for part in _parts(crops, _BATCH):
            records, pictures = [], []
            for record, path in part:
                try:
                    pictures.append(load_image(path))
                    records.append(record)
                except ReIDError as error:
                    if path.exists():  # else it was moved or deleted meanwhile
                        problems.append(str(error))
            if records:
                yield records, self._embedded(pictures)
            done += len(part)
            if on_progress is not None:
                on_progress(done, len(crops))

    def _embedded(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        if self._embed is None:
            raise ReIDError("Crops are without vectors, and there is no model to embed them with; give a bundle.")
        return np.asarray(self._embed(pictures), dtype=np.float32)


def records_of(sighting: Sighting) -> list[VectorRecord]:
    """What the store keeps of a sighting as the gallery gives it: one record for each crop, in their order. Its time is
    when the vehicle came into view."""
    return [
        VectorRecord(
            f"{sighting.id}-{number}", sighting.id, sighting.vehicle, sighting.camera, sighting.type, sighting.start
        )
        for number in range(len(sighting.crops))
    ]


def _moved(record: VectorRecord, vehicle: str, sighting: str) -> VectorRecord:
    number = record.id.rpartition("-")[2]
    return replace(record, id=f"{sighting}-{number}", sighting=sighting, vehicle=vehicle)


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
