"""Removing for good what ended before a time, in the gallery and in its trash."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.index import GalleryIndex
from reid_lightning.search.gallery.optional_index import OptionalIndex
from reid_lightning.search.gallery.trash import Removed
from reid_lightning.search.plates.names import folder_name, vehicle_name
from reid_lightning.search.records import Sighting

_DONE = {"merge": "merged into", "rename": "renamed to"}


class NotForgottenError(ReIDError):
    """A vehicle is removed as far as it was there, and there may be more of it elsewhere."""


def forget(
    gallery: Gallery, before: float, *, index: GalleryIndex | OptionalIndex | None = None
) -> tuple[int, tuple[str, ...], int]:
    """Remove all sightings that ended before a time (seconds since 1970), or that were registered before it where
    nobody knows; with `index` from the vectors, too.

    Returns:
        How many were removed, lines about what is damaged and was left out, and how many entries of the trash went
        because nobody can say of what time they are.
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
    return len(removed) + forgotten, tuple(dict.fromkeys(problems)), gallery.purge_damaged()


def forget_vehicle(gallery: Gallery, vehicle: str, *, index: GalleryIndex | OptionalIndex | None = None) -> None:
    """Remove a vehicle for good, with all that the trash knows of it, also under the names that it had before.

    Raises:
        ReIDError: there is none in either.
        NotForgottenError: pictures of it are in another vehicle, which stays, or there may be some in the trash.
    """
    folder = gallery.folder_of(vehicle)
    names = {vehicle}
    with suppress(ReIDError):
        names |= {vehicle_name(vehicle), folder_name(vehicle)} if folder is None else {folder.name}
    entries = gallery.trash()
    left = [
        f"{entry.vehicle} was {_DONE[entry.action]} {entry.into}, and its pictures are in {other} now: `delete "
        f"vehicle={other} now=true` removes them with all of it, or `restore vehicle={entry.id}` brings them back "
        "first. The note of it is kept."
        for entry in entries
        if entry.vehicle in names and (other := _holder(gallery, entry, entries, names)) is not None
    ]
    left += [
        f"{path} cannot be read, and may be of any vehicle; `purge` without a name removes it."
        for path in gallery.damaged_trash()
    ]
    known = _leading_to(names, entries)
    try:
        if folder is not None or not (known or left):
            (index or gallery).delete(vehicle)
    finally:
        gallery.purge(known)
    if left:
        done = "is removed as far as it was there" if folder is not None or known else "is no vehicle of the gallery"
        raise NotForgottenError(" ".join([f"{vehicle} {done}.", *left]))


def _leading_to(names: Collection[str], entries: Sequence[Removed]) -> list[Removed]:
    """What the trash (the latest first) says of vehicles that are called so at last."""
    found, called = [], set(names)
    for entry in entries:
        if entry.into in called:
            called.add(entry.vehicle)
            found.append(entry)
        elif entry.action == "delete" and entry.vehicle in called | set(names):
            found.append(entry)
        elif entry.action != "delete":  # who was called so before is another vehicle now
            called.discard(entry.vehicle)
    return found


def _holder(gallery: Gallery, entry: Removed, entries: Sequence[Removed], names: Collection[str]) -> str | None:
    """The vehicle, also one in the trash, but none of these `names`, in which what was merged or renamed is now; None:
    nothing of it is left."""
    if entry.action == "delete":
        return None
    deleted = [one for one in entries if one.action == "delete" and one.vehicle not in names]
    gallery.locations.look()
    for one in entry.sightings:
        vehicle = gallery.locations.known(one)
        if vehicle is not None and vehicle not in names:
            return vehicle
    moved = set(entry.sightings)
    in_trash = next((one.vehicle for one in deleted if moved & set(one.sightings)), None)
    if in_trash is not None or not (entry.pictures or entry.action == "rename"):
        return in_trash
    name = entry.into
    for later in reversed(entries[: entries.index(entry)]):
        if later.action != "delete" and later.vehicle == name:
            name = later.into
    is_there = gallery.folder_of(name) is not None or any(one.vehicle == name for one in deleted)
    return name if is_there and name not in names else None


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
