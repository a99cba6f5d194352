"""Renaming, merging and deleting for a page that may be out of date: another browser tab may have been faster."""

from __future__ import annotations

from dataclasses import dataclass

from reid_lightning.app.context import AppContext
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.changes import renamed
from reid_lightning.search.records import Sighting


@dataclass(frozen=True)
class Done:
    """What was done, for the user, and the vehicle to look at next (None: the list); `undo` is the id of what can be
    taken back."""

    text: str
    vehicle: str | None = None
    undo: str | None = None


def rename(context: AppContext, vehicle: str, new: str) -> Done:
    """Give a vehicle another name. ReIDError: it is gone, or the name is taken or is none."""
    _check_there(context.gallery, vehicle)
    if not new.strip():
        raise ReIDError("the new name is empty; expected at least one letter or digit.")
    source = context.gallery.existing_folder(vehicle)
    target = renamed(context.gallery, source, new)
    if target == source:
        return Done(f"{vehicle} keeps its name.", vehicle)
    if target.exists():
        raise ReIDError(f"{vehicle} cannot become {target.name}, which exists. Merge the two instead.")
    with context.changing() as gallery:
        gallery.rename(vehicle, new, undoable=True)
    return Done(f"{vehicle} is now called {target.name}.", target.name, _last(context.gallery, "rename", vehicle))


def merge(context: AppContext, vehicle: str, into: str) -> Done:
    """Move all sightings of a vehicle to another. ReIDError: one of the two is gone, or they are the same."""
    _check_there(context.gallery, vehicle)
    _check_there(context.gallery, into)
    with context.changing() as gallery:
        gallery.merge(vehicle, into, undoable=True)
    return Done(f"{vehicle} was merged into {into}.", into, _last(context.gallery, "merge", vehicle))


def delete(context: AppContext, vehicle: str) -> Done:
    """Remove a vehicle with all its pictures. ReIDError: it is gone."""
    _check_there(context.gallery, vehicle)
    with context.changing() as gallery:
        gallery.delete(vehicle, undoable=True)
    return Done(f"{vehicle} was deleted.", undo=_last(context.gallery, "delete", vehicle))


def delete_sighting(context: AppContext, sighting: Sighting) -> Done:
    """Remove one sighting. ReIDError: it is gone, or with another vehicle now."""
    if sighting.id not in {one.id for one in _readable(context.gallery, sighting.vehicle)}:
        raise ReIDError(
            f"this sighting is not with {sighting.vehicle} any more: it was moved or deleted meanwhile. "
            "Nothing was done."
        )
    with context.changing() as gallery:
        gallery.delete_sighting(sighting, undoable=True)
    left = sighting.vehicle if context.gallery.folder_of(sighting.vehicle) is not None else None
    return Done(
        f"A sighting of {sighting.vehicle} was deleted.", left, _last(context.gallery, "delete", sighting.vehicle)
    )


def undo(context: AppContext, entry: str) -> Done:
    """Take back one of the above. ReIDError: it was taken back or removed for good meanwhile."""
    into = next((one.vehicle for one in context.gallery.trash() if one.id == entry), None)
    with context.changing() as gallery:
        done = gallery.restore(entry, into=into)
    left = f" {done.left} of its sightings were registered again and stay as they are." if done.left else ""
    return Done(f"{done.vehicle} is as it was.{left}", done.vehicle)


def _last(gallery: Gallery, action: str, vehicle: str) -> str | None:
    """The id of what was done last to a vehicle."""
    return next((one.id for one in gallery.trash() if (one.action, one.vehicle) == (action, vehicle)), None)


def _readable(gallery: Gallery, vehicle: str) -> list[Sighting]:
    return gallery.sightings_of(vehicle, on_problem=lambda problem: None)


def _check_there(gallery: Gallery, vehicle: str) -> None:
    if gallery.folder_of(vehicle) is None:
        raise ReIDError(
            f"there is no vehicle {vehicle} any more: it was renamed, merged or deleted meanwhile. Nothing was done."
        )
