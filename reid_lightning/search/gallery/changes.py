"""Renaming, merging and deleting vehicles, so that a process killed at any moment leaves each sighting in one place.

What has to happen at once is one `rename` of a folder or of a sidecar; crops are there before it and go after it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.files import LOCK, flush_folder, link, locked
from reid_lightning.search.gallery.listing import is_picture, picture_id, read_folder
from reid_lightning.search.gallery.sidecar import SUFFIX
from reid_lightning.search.plates.names import folder_name
from reid_lightning.search.records import Sighting

if TYPE_CHECKING:
    from reid_lightning.search.gallery.folder import Gallery

TRASH = ".deleted"


class NotRemovedError(ReIDError):
    """What was deleted is no longer in the gallery, but still on the disk."""


def rename(gallery: Gallery, vehicle: str, new: str) -> dict[str, str]:
    """See `Gallery.rename`."""
    with _changing(gallery):
        source, target = _folder(gallery, vehicle), gallery.root / folder_name(new)
        if target == source:
            return {}
        if target.exists() or target.is_symlink():
            raise ReIDError(f"{vehicle} cannot become {target.name}, which exists. Merge the two instead.")
        sightings = read_folder(source).sightings
        source.rename(target)
        flush_folder(gallery.root)
    return {sighting.id: _id_in(target, sighting) for sighting in sightings}


def merge(gallery: Gallery, vehicle: str, into: str) -> dict[str, str]:
    """See `Gallery.merge`."""
    with _changing(gallery):
        source, target = _folder(gallery, vehicle), _folder(gallery, into)
        if source == target:
            raise ReIDError(f"{vehicle} and {into} are the same vehicle; there is nothing to merge.")
        moved = {sighting.id: _move(sighting, source, target) for sighting in read_folder(source).sightings}
        with suppress(OSError):
            source.rmdir()  # stays if something else lies in it
        flush_folder(gallery.root)
    return moved


def delete(gallery: Gallery, vehicle: str) -> None:
    """See `Gallery.delete`."""
    with _changing(gallery):
        source = _folder(gallery, vehicle)
        trash = gallery.root / TRASH
        trash.mkdir(exist_ok=True)
        away = trash / uuid.uuid4().hex
        source.rename(away)
        flush_folder(gallery.root)
    shutil.rmtree(away, ignore_errors=True)
    left = sum(path.is_file() for path in away.rglob("*"))
    if left:
        raise NotRemovedError(
            f"{vehicle} is out of the gallery, but {left} of its files could not be removed and lie in {away}. Remove "
            "that folder with the rights that it takes."
        )


def delete_sighting(gallery: Gallery, sighting: Sighting) -> None:
    """See `Gallery.delete_sighting`."""
    gallery.crop_paths(sighting)  # which must be files of a gallery
    with _changing(gallery):
        here = _standing(gallery, sighting)
        if here is None:
            return
        paths = gallery.crop_paths(here)
        (gallery.root / here.vehicle / f"{here.id}{SUFFIX}").unlink(missing_ok=True)
        for path in paths:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            (gallery.root / here.vehicle).rmdir()  # only if it is empty
        flush_folder(gallery.root)


def _standing(gallery: Gallery, sighting: Sighting) -> Sighting | None:
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
    gallery.places.look()
    vehicle = gallery.places.known(sighting.id)
    return None if vehicle is None else replace(sighting, vehicle=vehicle)


def _move(sighting: Sighting, source: Path, target: Path) -> str:
    """Crops first, under a second name, then the sidecar, with which the sighting moves; then the old crops go."""
    if is_picture(sighting):
        name = _free_name(target, sighting.crops[0].file)
        content = (source / sighting.crops[0].file).read_bytes()
        (source / sighting.crops[0].file).rename(target / name)
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


def _free_name(folder: Path, name: str) -> str:
    stem, suffix = Path(name).stem, Path(name).suffix
    number = 1
    while (folder / name).exists():
        number += 1
        name = f"{stem} ({number}){suffix}"
    return name


def _folder(gallery: Gallery, vehicle: str) -> Path:
    folder = gallery.folder_of(vehicle)
    if folder is None:
        raise ReIDError(f"There is no vehicle {vehicle!r} in {gallery.root}; `list` shows those that there are.")
    return folder


@contextmanager
def _changing(gallery: Gallery) -> Iterator[None]:
    if not gallery.root.is_dir():
        raise ReIDError(f"There is no gallery at {gallery.root}.")
    try:
        with locked(gallery.root / LOCK):
            yield
    except OSError as error:
        raise ReIDError(f"The gallery {gallery.root} cannot be changed: {error.strerror or error}.") from error
