"""Removing for good what ended before a time, in the gallery and in its trash."""

from __future__ import annotations

from collections.abc import Sequence

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.following import Following
from reid_lightning.search.gallery.index import GalleryIndex
from reid_lightning.search.records import Sighting


def forget(
    gallery: Gallery, before: float, *, index: GalleryIndex | Following | None = None
) -> tuple[int, tuple[str, ...]]:
    """Remove all sightings that ended before a time (seconds since 1970), or that were registered before it where
    nobody knows; with `index` from the vectors, too.

    Returns:
        How many were removed, and lines about what is damaged and was left out.
    """
    removed: set[str] = set()
    while True:
        problems: list[str] = []
        old = [one for one in gallery.sightings(on_problem=problems.append) if _ended(gallery, one) < before]
        new = [one for one in old if one.id not in removed]
        for sighting in new:
            (index or gallery).delete_sighting(sighting)
            removed.add(sighting.id)
        if not new:  # what others moved while it was looked for is there at the next look
            break
    forgotten = _forget_in_trash(gallery, before, problems)
    return len(removed) + forgotten, tuple(dict.fromkeys(problems))


def forget_vehicle(gallery: Gallery, vehicle: str, *, index: GalleryIndex | Following | None = None) -> None:
    """Remove a vehicle for good, with all that the trash knows of it. ReIDError: there is none in either."""
    folder = gallery.folder_of(vehicle)
    names = {vehicle, vehicle if folder is None else folder.name}
    known = [entry for entry in gallery.trash() if names & {entry.vehicle, entry.into}]
    try:
        if folder is not None or not known:
            (index or gallery).delete(vehicle)
    finally:
        gallery.purge(known)


def _forget_in_trash(gallery: Gallery, before: float, problems: list[str]) -> int:
    count = 0
    standing = {one.id for one in gallery.sightings(on_problem=lambda problem: None)}
    for entry in gallery.trash():
        if entry.action != "delete":
            trash.shorten(gallery.root, entry, sightings=standing)
            continue
        kept = Gallery(trash.folder_of(gallery.root, entry))
        found = list(kept.sightings(on_problem=problems.append))
        old = [one for one in found if _ended(kept, one) < before]
        if found and len(old) == len(found):
            gallery.purge([entry])
        else:
            for sighting in old:
                kept.delete_sighting(sighting)
            if old:
                trash.forget_vectors(gallery.root, entry)
        count += len(old)
    return count


def _ended(gallery: Gallery, sighting: Sighting) -> float:
    """When a sighting was over, or where nobody knows, when its last picture was written."""
    if sighting.end is not None:
        return sighting.end
    return max(_written(gallery, sighting), default=float("inf"))


def _written(gallery: Gallery, sighting: Sighting) -> Sequence[float]:
    try:
        return [path.stat().st_mtime for path in gallery.crop_paths(sighting)]
    except (OSError, ReIDError):  # moved meanwhile: the next look finds it
        return []
