"""Gallery and vector store as one: what is on disk is embedded, and what has moved or gone there follows here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.changes import Restored
from reid_lightning.search.gallery.crop_embedding import BATCH, Crops, Embed, parts, records_of
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.trash import Removed
from reid_lightning.search.records import Filter, OnProgress, Sighting, VectorRecord, unseen
from reid_lightning.search.stores.base import VectorStore, read_whole

_logger = logging.getLogger(__name__)

_LOOKS_AGAIN = 2  # of a sync that was overtaken by others, who may go on for ever
_MOVED = 4096  # records


@dataclass(frozen=True)
class IndexReport:
    """What a `sync` or `rebuild` did, in crops; `problems` are lines about what was left out."""

    embedded: int
    removed: int
    changed: int
    total: int
    problems: tuple[str, ...] = ()


class NotInGalleryError(ReIDError):
    """A sighting whose vectors shall be stored is not on the disk (any more)."""


class GalleryIndex:
    """The vectors of a gallery.

    The disk changes first and the store follows, so that a process killed in between leaves what `sync` repairs.
    Whoever has written to the store looks at the disk again, and whoever has changed the disk looks into the store: so
    the last of them leaves both agreeing, without a lock around them (`docs/architecture.md`).

    Args:
        gallery: crops and sidecars.
        store: of the same model as `embed`.
        embed: for crops that come without their vectors; None: such are an error.
    """

    def __init__(self, gallery: Gallery, store: VectorStore, embed: Embed | None = None) -> None:
        self.gallery = gallery
        self.store = store
        self._crops = Crops(gallery, embed)

    def add(self, sighting: Sighting, vectors: np.ndarray | None = None) -> bool:
        """Store the vectors of a sighting that `Gallery.add` has kept, wherever it is now.

        Args:
            sighting: one that is in the store already changes nothing.
            vectors: (crops, dim) of length 1; None: its crops are read and embedded.

        Returns:
            Whether it was not there, and is now: one that is deleted meanwhile is left out.

        Raises:
            NotInGalleryError: it was deleted before, or never kept.
        """
        stored = self.gallery.find(sighting.id)
        if stored is None:
            raise NotInGalleryError(
                f"The sighting {sighting.id} is not in {self.gallery.root}; add it to the gallery first."
            )
        records = records_of(stored)
        there = Filter(vehicles=(stored.vehicle,))
        known = {record.id for part in read_whole(lambda: self.store.records(there)) for record in part}
        if all(record.id in known for record in records):
            return False
        if vectors is None:
            pictures = self._crops.pictures_of(stored)
            if pictures is None:
                return False
            vectors = self._crops.embedded(pictures)
        return any(self._settle(records, vectors).values())

    def embedded(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """(N, dim) float32 of length 1, of pictures as they are stored. ReIDError: there is no model."""
        return self._crops.embedded(pictures)

    def sync(self, *, on_progress: OnProgress = unseen) -> IndexReport:
        """Make the store agree with the disk: embed what is missing, remove what is gone, follow what has moved."""
        self.gallery.locations.index.look(everything=True)
        report, is_done = self._sync(on_progress)
        for _ in range(_LOOKS_AGAIN):
            if is_done:
                break
            later, is_done = self._sync(on_progress)
            report = IndexReport(
                report.embedded + later.embedded,
                report.removed + later.removed,
                report.changed + later.changed,
                later.total,
                later.problems,
            )
        self.store.optimize()
        return report

    def _sync(self, on_progress: OnProgress) -> tuple[IndexReport, bool]:
        """Also whether nothing that it did was overtaken by others."""
        indexed = {record.id: record for part in read_whole(self.store.records) for record in part}
        problems: list[str] = []
        wanted: dict[str, VectorRecord] = {}
        missing: list[tuple[VectorRecord, str]] = []
        for record, name in self._crops.all(problems):  # after the store: whoever adds is on the disk first
            wanted[record.id] = record
            if record.id not in indexed:
                missing.append((record, name))
        changed = {record.vehicle for record in indexed.values() if wanted.get(record.id, record) != record}
        unseen = [record for record in indexed.values() if record.id not in wanted]
        removed, overtaken = 0, list[VectorRecord]()
        for part in parts(unseen, _MOVED):  # what is damaged, or was moved while we read, is there nevertheless
            after = self._settle(part, None, stored=part)
            removed += sum(record is None for record in after.values())
            changed |= {record.vehicle for record in part if after[record.id] not in (None, record)}
        moved = sum(self._follow(vehicles) for vehicles in parts(sorted(changed), BATCH))
        embedded = 0
        for records, vectors in self._crops.embed_all(missing, problems, on_progress, overtaken):
            after = self._settle(records, vectors)
            embedded += sum(record is not None for record in after.values())
            overtaken += [record for record in records if after[record.id] != record]
        self.store.mark_complete()
        return IndexReport(embedded, removed, moved, self.store.count(), tuple(problems)), not overtaken

    def take(self, embedded: Iterable[tuple[Sequence[str], np.ndarray]]) -> int:
        """Store vectors that were made elsewhere; a `sync` must follow, which looks at what has changed meanwhile.

        Args:
            embedded: ids of crops' records (N,) and vectors (N, dim) of length 1, by this store's model; those that
                the gallery does not have (any more) are left out.

        Returns:
            How many were stored.
        """
        self.gallery.locations.index.look(everything=True)
        wanted = {record.id: record for record, _ in self._crops.all([])}
        taken = 0
        for ids, vectors in embedded:
            rows = [row for row, name in enumerate(ids) if name in wanted]
            self.store.upsert([wanted[ids[row]] for row in rows], vectors[rows])
            taken += len(rows)
        return taken

    def rebuild(self, *, on_progress: OnProgress = unseen) -> IndexReport:
        """Embed everything again; searches see the old vectors until all are there. Works on a store of another model
        that was opened with `any_model=True`."""
        problems: list[str] = []
        self.gallery.locations.index.forget()  # which is made again as well
        crops = list(self._crops.all(problems))
        self.store.replace(self._crops.embed_all(crops, problems, on_progress, []))
        later = self.sync()  # what others registered meanwhile
        return replace(later, embedded=later.total, problems=tuple(dict.fromkeys([*problems, *later.problems])))

    def tidy(self) -> None:
        """`VectorStore.optimize`; that it fails is logged, for nothing is lost by it."""
        try:
            self.store.optimize()
        except ReIDError as error:
            _logger.warning("Everything is stored, but its index is not up to date; `sync` fixes it. (%s)", error)

    def rename(self, vehicle: str, new: str, *, undoable: bool = False) -> None:
        """`Gallery.rename`, here too."""
        before = self._name(vehicle)
        moved = self.gallery.rename(vehicle, new, undoable=undoable)
        self._follow([before], moved, self._name(new))

    def merge(self, vehicle: str, into: str, *, undoable: bool = False) -> None:
        """`Gallery.merge`, here too."""
        before, after = self._name(vehicle), self._name(into)
        moved = self.gallery.merge(vehicle, into, undoable=undoable)
        self._follow([before], moved, after)

    def delete(self, vehicle: str, *, undoable: bool = False) -> Removed | None:
        """`Gallery.delete`, here too; what can be undone keeps its vectors beside it."""
        folder = self.gallery.folder_of(vehicle)
        try:
            entry = self.gallery.delete(vehicle, undoable=undoable)
            self._keep_vectors(entry)
        finally:  # also where files of it could not be removed
            if folder is not None:
                self._follow([folder.name])
        return entry

    def delete_sighting(self, sighting: Sighting, *, undoable: bool = False) -> Removed | None:
        """`Gallery.delete_sighting`, here too."""
        entry = self.gallery.delete_sighting(sighting, undoable=undoable)
        self._keep_vectors(entry)
        records = records_of(sighting)
        if any(self._settle(records, None, stored=records).values()):
            self._follow([sighting.vehicle])  # it lies in another folder, too
        return entry

    def restore(self, which: str, *, into: str | None = None) -> Restored:
        """`Gallery.restore`, here too, as far as the vectors were kept: `sync` embeds the others."""
        entry = trash.chosen(self.gallery.root, which)
        vectors = trash.kept_vectors(self.gallery.root, entry, self.store.fingerprint)
        done = self.gallery.restore(entry.id, into=into)
        self.take_back(done, vectors)
        return done

    def take_back(self, done: Restored, vectors: Mapping[str, np.ndarray]) -> None:
        """Follow what `Gallery.restore` has done, with the vectors that were kept."""
        self._follow(done.origins, done.moved, done.vehicle)
        old = {new: before for before, new in done.moved.items()}
        back = self.gallery.sightings_of(done.vehicle, on_problem=lambda problem: None) if vectors else []
        records = [record for one in back if one.id in old for record in records_of(one)]
        rows = [vectors.get(_moved(record, record.vehicle, old[record.sighting]).id) for record in records]
        kept = [(record, row) for record, row in zip(records, rows, strict=True) if row is not None]
        if kept:
            self._settle([record for record, _ in kept], np.stack([row for _, row in kept]))

    def _name(self, vehicle: str) -> str:
        folder = self.gallery.folder_of(vehicle)
        return vehicle if folder is None else folder.name

    def _keep_vectors(self, entry: Removed | None) -> None:
        if entry is not None:
            there = Filter(vehicles=(entry.vehicle,))
            found = read_whole(lambda: self.store.scan(there))
            rows = [pair for part, vectors in found for pair in zip(part, vectors, strict=True)]
            kept = {record.id: row for record, row in rows if record.sighting in entry.sightings}
            trash.keep_vectors(self.gallery.root, entry, self.store.fingerprint, kept)

    def _follow(self, vehicles: Sequence[str], moved: Mapping[str, str] | None = None, into: str = "") -> int:
        """Make the store agree with the disk about all that it holds of some vehicles; returns how much changed.

        A user's picture has another id in another folder: `moved` says which, `into` in which folder.
        """
        followed = 0
        there = Filter(vehicles=tuple(vehicles))
        for records, vectors in read_whole(lambda: self.store.scan(there)):
            new_ids = [(moved or {}).get(record.sighting, record.sighting) for record in records]
            rows = [row for row, record in enumerate(records) if record.sighting != new_ids[row]]
            self._settle([_moved(records[row], into, new_ids[row]) for row in rows], vectors[rows])
            after = self._settle(records, vectors, stored=records)
            followed += sum(after[record.id] not in (None, record) for record in records)
        return followed

    def _settle(
        self, records: Sequence[VectorRecord], vectors: np.ndarray | None, *, stored: Sequence[VectorRecord] = ()
    ) -> dict[str, VectorRecord | None]:
        """Make the store say of records what the disk says: look, write what differs, and look again until nothing has
        changed meanwhile. So whoever writes last has looked after it.

        Args:
            records: as they were seen last.
            vectors: (N, dim) of them; None: what has moved is left as it is.
            stored: what the store holds of them.

        Returns:
            What the disk says of each id; None: it is gone.
        """
        row = {record.id: number for number, record in enumerate(records)}
        holds: dict[str, VectorRecord | None] = {**dict.fromkeys(row), **{record.id: record for record in stored}}
        while True:
            now = self._now(records)
            differing = {identifier for identifier, record in now.items() if record != holds[identifier]}
            gone = sorted(identifier for identifier in differing if now[identifier] is None)
            here = [record for record in now.values() if record is not None and record.id in differing]
            if vectors is not None and here:
                self.store.upsert(here, vectors[[row[record.id] for record in here]])
            self.store.delete(gone)
            if not gone and (vectors is None or not here):
                return now
            holds |= now

    def _now(self, records: Sequence[VectorRecord]) -> dict[str, VectorRecord | None]:
        """What the disk says of records: of those that are damaged there, what they say themselves; None: gone."""
        found = self.gallery.locations.find_all({record.sighting: record.vehicle for record in records})
        there = {one.id: one for sighting in found.values() if sighting is not None for one in records_of(sighting)}
        return {
            record.id: there.get(record.id) if found.get(record.sighting) or record.sighting not in found else record
            for record in records
        }


def _moved(record: VectorRecord, vehicle: str, sighting: str) -> VectorRecord:
    number = record.id.rpartition("-")[2]
    return replace(record, id=f"{sighting}-{number}", sighting=sighting, vehicle=vehicle)
