"""Renaming, merging and deleting vehicles, so that a process killed at any moment leaves each sighting in one place.

What has to happen at once is one `rename` of a folder or of a sidecar; crops are there before it and go after it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reid_lightning.atomic import flush_folder, link
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import trash
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sidecar import SUFFIX
from reid_lightning.search.gallery.trash import NotRemovedError, Removed
from reid_lightning.search.gallery.vehicle_folder import is_picture, numbered, picture_id, read_folder
from reid_lightning.search.plates.names import vehicle_name
from reid_lightning.search.records import Sighting


@dataclass(frozen=True)
class Restored:
    """What came back, to `vehicle`: `moved` are its sightings, old id -> new id; those that were still in the gallery
    came from the vehicles `origins`. `left` stay where they are: they were registered again, or have moved on."""

    vehicle: str
    moved: dict[str, str]
    origins: tuple[str, ...] = ()
    left: int = 0


def rename(gallery: GalleryReader, vehicle: str, new: str, *, undoable: bool = False) -> dict[str, str]:
    """Give a vehicle a new name, at once. Returns its sightings, old id -> new id: those of a user's pictures
    change with the name. `undoable`: `restore` takes it back for `trash.KEPT_SECONDS`, here and below."""
    with changing(gallery):
        source = gallery.existing_folder(vehicle)
        target = renamed(gallery, source, new)
        if target == source:
            return {}
        moved = _rename(gallery, source, target)
        if undoable:
            trash.keep(gallery.root, "rename", source.name, into=target.name, sightings=tuple(moved))
    return moved


def renamed(gallery: GalleryReader, source: Path, new: str) -> Path:
    """The folder of a vehicle under a new name: an existing one of that name, which it cannot take, or a new one."""
    place = gallery.place_of(new)
    return gallery.root / vehicle_name(new) if place == source and source.name != new else place


def merge(gallery: GalleryReader, vehicle: str, into: str, *, undoable: bool = False) -> dict[str, str]:
    """Move all sightings of a vehicle to another one, one after the other; killed, it can be called again. Returns
    them, old id -> new id."""
    with changing(gallery):
        source, target = gallery.existing_folder(vehicle), gallery.existing_folder(into)
        if source == target:
            raise ReIDError(f"{vehicle} and {into} are the same vehicle; there is nothing to merge.")
        sightings = read_folder(source).sightings
        if undoable:
            pictures = {_digest(source / one.crops[0].file): one.crops[0].file for one in sightings if is_picture(one)}
            ids = tuple(one.id for one in sightings if not is_picture(one))
            trash.keep(gallery.root, "merge", source.name, into=target.name, sightings=ids, pictures=pictures)
        gallery.locations.index.note(source.name, target.name)
        moved = {sighting.id: _move(sighting, source, target) for sighting in sightings}
        with suppress(OSError):
            source.rmdir()  # stays if something else lies in it
        flush_folder(gallery.root)
    return moved


def delete(gallery: GalleryReader, vehicle: str, *, undoable: bool = False) -> Removed | None:
    """Remove a vehicle with all that lies in its folder, at once. Returns what is kept of it, if it is undoable."""
    with changing(gallery):
        source = gallery.existing_folder(vehicle)
        gallery.locations.index.note(source.name)
        if undoable:
            ids = tuple(one.id for one in read_folder(source).sightings)
            entry = trash.keep(gallery.root, "delete", source.name, sightings=ids)
            source.rename(trash.folder_of(gallery.root, entry) / source.name)
            flush_folder(gallery.root)
            return entry
        away = gallery.root / trash.FOLDER / uuid.uuid4().hex
        away.parent.mkdir(exist_ok=True)
        source.rename(away)
        flush_folder(gallery.root)
    gallery.locations.look(folders=0)  # which takes it out of the index of sidecars
    trash.remove_folder(away, vehicle)
    return None


def delete_sighting(gallery: GalleryReader, sighting: Sighting, *, undoable: bool = False) -> Removed | None:
    """Remove one sighting and its crops, wherever it is now; one that is gone already is no error."""
    gallery.crop_paths(sighting)  # which must be files of a gallery
    with changing(gallery):
        here = _standing(gallery, sighting)
        if here is None:
            return None
        folder, paths, entry = gallery.root / here.vehicle, gallery.crop_paths(here), None
        gallery.locations.index.note(folder.name)
        if undoable:
            entry = trash.keep(gallery.root, "delete", here.vehicle, sightings=(here.id,))
            away = trash.folder_of(gallery.root, entry) / here.vehicle
            away.mkdir()
            _move(here, folder, away)
        else:
            (folder / f"{here.id}{SUFFIX}").unlink(missing_ok=True)
            for path in paths:
                path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        flush_folder(gallery.root)
    if not undoable:
        gallery.locations.look(folders=0)
    return entry


def purge_damaged(gallery: GalleryReader) -> int:
    """Remove that for good; returns how much there was. NotRemovedError: files of it could not be removed."""
    with changing(gallery):  # nobody is deleting, whose note is there before its pictures
        found = trash.damaged(gallery.root)
        for path in found:
            trash.remove_folder(path, f"{path.name}, whose note cannot be read,")
    return len(found)


def restore(gallery: GalleryReader, which: str, *, into: str | None = None) -> Restored:
    """Take back a deletion, a merge or a new name. What was registered again meanwhile stays as it is.

    Args:
        which: the id of an entry of `trash`, or a vehicle's name, of which the latest is taken.
        into: another name than before, or that of a vehicle that it shall be joined to.

    Raises:
        ReIDError: there is nothing of that name, or the vehicle exists again and nothing is said of it.
    """
    with changing(gallery):
        entry = trash.chosen(gallery.root, which)
        other = None if into is None or into == entry.vehicle else gallery.place_of(into)
        target = gallery.root / (entry.vehicle if other is None else other)
        if into is None and (target.exists() or target.is_symlink()):
            raise ReIDError(
                f"{entry.vehicle} exists again. `restore vehicle={entry.id} into={entry.vehicle}` puts both together, "
                "another name keeps them apart."
            )
        gallery.locations.look()
        done = {"delete": _undelete, "merge": _unmerge, "rename": _unname}[entry.action](gallery, entry, target)
        with suppress(OSError):
            target.rmdir()  # only if it is empty
        flush_folder(gallery.root)
        if entry.action != "delete" or not (trash.folder_of(gallery.root, entry) / entry.vehicle).exists():
            trash.remove(gallery.root, [entry])
    return done


def _undelete(gallery: GalleryReader, entry: Removed, target: Path) -> Restored:
    source = trash.folder_of(gallery.root, entry) / entry.vehicle
    found = read_folder(source).sightings
    new = [one for one in found if is_picture(one) or gallery.locations.known(one.id) is None]
    gallery.locations.index.note(target.name)
    if len(new) == len(found) and not target.exists():
        source.rename(target)  # with all that lies in it
        return Restored(target.name, {one.id: _id_in(target, one) for one in found})
    target.mkdir(exist_ok=True)
    moved = {one.id: _move(one, source, target) for one in new}
    with suppress(OSError):
        source.rmdir()  # stays if something else lies in it
    return Restored(target.name, moved, left=len(found) - len(new))


def _unmerge(gallery: GalleryReader, entry: Removed, target: Path) -> Restored:
    """Its sightings, wherever they are by now; a user's pictures only from where they were merged into."""
    here = {one: gallery.locations.known(one) for one in entry.sightings}
    target.mkdir(exist_ok=True)
    moved, origins = {}, set[str]()
    for vehicle in {entry.into, *(vehicle for vehicle in here.values() if vehicle is not None)} - {target.name}:
        folder = gallery.root / vehicle
        gallery.locations.index.note(folder.name, target.name)
        for one in read_folder(folder).sightings:
            name = entry.pictures.get(_digest(folder / one.crops[0].file)) if is_picture(one) else None
            if here.get(one.id) == vehicle or name is not None:
                moved[one.id] = _move(one, folder, target, name=name)
                origins.add(vehicle)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
    left = len(entry.sightings) + len(entry.pictures) - len(moved)
    left -= sum(vehicle == target.name for vehicle in here.values())
    if not moved and left:
        raise ReIDError(f"None of the sightings of {entry.vehicle} that were merged are there any more.")
    return Restored(target.name, moved, tuple(sorted(origins)), left)


def _unname(gallery: GalleryReader, entry: Removed, target: Path) -> Restored:
    source = gallery.existing_folder(entry.into)
    return Restored(target.name, _rename(gallery, source, target), (source.name,))


def _rename(gallery: GalleryReader, source: Path, target: Path) -> dict[str, str]:
    if target.exists() or target.is_symlink():
        raise ReIDError(f"{source.name} cannot become {target.name}, which exists. Merge the two instead.")
    sightings = read_folder(source).sightings
    gallery.locations.index.note(source.name, target.name)
    source.rename(target)
    flush_folder(gallery.root)
    return {sighting.id: _id_in(target, sighting) for sighting in sightings}


def _standing(gallery: GalleryReader, sighting: Sighting) -> Sighting | None:
    """The sighting where it is now; of one that lies in two folders, that in the one that it names."""
    if is_picture(sighting):
        path = gallery.root / sighting.vehicle / sighting.crops[0].file
        try:
            is_same = picture_id(sighting.vehicle, path.name, path.read_bytes()) == sighting.id
        except (FileNotFoundError, NotADirectoryError):
            return None
        return sighting if is_same else None
    if (gallery.root / sighting.vehicle / f"{sighting.id}{SUFFIX}").exists():
        return sighting
    gallery.locations.look()
    vehicle = gallery.locations.known(sighting.id)
    return None if vehicle is None else replace(sighting, vehicle=vehicle)


def _move(sighting: Sighting, source: Path, target: Path, *, name: str | None = None) -> str:
    """Crops first, under a second name, then the sidecar, with which the sighting moves; then the old crops go. A
    user's picture is called `name` there, or something like it."""
    if is_picture(sighting):
        file = source / sighting.crops[0].file
        name = _free_name(target, file.name if name is None else name)
        content = file.read_bytes()
        file.rename(target / name)
        return picture_id(target.name, name, content)
    for crop in sighting.crops:
        link(source / crop.file, target / crop.file)
    flush_folder(target)
    (source / f"{sighting.id}{SUFFIX}").rename(target / f"{sighting.id}{SUFFIX}")
    flush_folder(target)
    for crop in sighting.crops:
        (source / crop.file).unlink(missing_ok=True)
    return sighting.id


def _id_in(folder: Path, sighting: Sighting) -> str:
    if not is_picture(sighting):
        return sighting.id
    return picture_id(folder.name, sighting.crops[0].file, (folder / sighting.crops[0].file).read_bytes())


def _digest(picture: Path) -> str:
    return hashlib.sha256(picture.read_bytes()).hexdigest()


def _free_name(folder: Path, name: str) -> str:
    return next(path.name for path in numbered(folder / name) if not path.exists())


@contextmanager
def changing(gallery: GalleryReader) -> Iterator[None]:
    """Nobody else adds, moves or removes anything meanwhile. What has been in the trash for long enough goes."""
    if not gallery.root.is_dir():
        raise ReIDError(f"There is no gallery at {gallery.root}.")
    try:
        with gallery.locations.index.changing():
            yield
        with suppress(NotRemovedError):  # `check` names what is left
            trash.remove(gallery.root, trash.expired(gallery.root))
    except OSError as error:
        raise ReIDError(f"The gallery {gallery.root} cannot be changed: {error.strerror or error}.") from error
