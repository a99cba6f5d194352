"""Whether a gallery's vectors are whole, and agree with the disk."""

from __future__ import annotations

from collections.abc import Collection

from reid_lightning.errors import count
from reid_lightning.search.gallery.crop_embedding import records_of
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.stores.base import VectorStore

_SYNC = "`sync` fixes it"
_SHOWN = 3  # names


def check_index(gallery: GalleryReader, store: VectorStore, *, fingerprint: str | None = None) -> list[str]:
    """Everything in the store is read and compared with the disk.

    Args:
        fingerprint: of the bundle that searches use; None: not looked at.

    Returns:
        Problems, a line each.
    """
    problems = list(store.problems())
    if fingerprint is not None and store.fingerprint != fingerprint:
        problems.append(
            f"The vectors are of the model {store.fingerprint}, the bundle is {fingerprint}; `rebuild` embeds again."
        )
    if problems:
        return problems
    indexed = {record.id: record for part in store.records() for record in part}
    unreadable: list[str] = []  # named by the check of the files
    wanted = {
        record.id: record for one in gallery.sightings(on_problem=unreadable.append) for record in records_of(one)
    }
    missing = wanted.keys() - indexed.keys()
    unseen = [indexed[name] for name in indexed.keys() - wanted.keys()]  # some may be damaged on the disk, not gone
    there = gallery.locations.find_all({record.sighting: record.vehicle for record in unseen})
    gone = [record.id for record in unseen if record.sighting not in there]
    other = [name for name in indexed.keys() & wanted.keys() if indexed[name] != wanted[name]]
    if len(indexed) != store.count():
        problems.append(f"The vectors hold {count(store.count() - len(indexed), 'picture')} twice; `rebuild` fixes it.")
    for found, words in (
        (missing, "not in the vectors and cannot be found"),
        (gone, "in the vectors, but not on the disk"),
        (other, "in the vectors under another vehicle, camera, type or time than on the disk"),
    ):
        if found:
            problems.append(f"{_counted(found)} {'is' if len(found) == 1 else 'are'} {words}; {_SYNC}.")
    return problems


def _counted(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{count(len(names), 'picture')} ({shown}{', ...' if len(names) > _SHOWN else ''})"
