"""Adding a sighting, so that it is there whole or not at all, and once, whatever other processes do meanwhile.

Its files are written under hidden names first, which may take its time. Then, while nobody else changes the gallery,
they are renamed to what they are, unless the sighting is there already: crops first, the sidecar last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid_lightning.atomic import flush_folder, staged
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.reader import ADDING, GalleryReader
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name, to_json
from reid_lightning.search.gallery.vehicle_folder import encode_crop
from reid_lightning.search.records import Sighting

_LONGEST_ID = 100


def add(gallery: GalleryReader, sighting: Sighting, pictures: Sequence[np.ndarray]) -> bool:
    """Keep a sighting and its crops, in `gallery.place_of(sighting.vehicle)`; the crops' files are named here.

    Args:
        sighting: an id that is known already, in whatever folder, changes nothing.
        pictures: one for each of its crops, (height, width, 3) uint8 RGB.

    Returns:
        Whether it is new.

    Raises:
        ReIDError: nothing of it was kept: it does not fit, or the disk is full or cannot be written.
    """
    sighting = _as_stored(gallery, sighting, pictures)
    if gallery.locations.known(sighting.id) is not None:
        return False
    sidecar = to_json(sighting).encode()
    crops = [encode_crop(picture, sighting.id) for picture in pictures]
    names = [*(crop.file for crop in sighting.crops), f"{sighting.id}{SUFFIX}"]
    try:
        with waiting(gallery.root, [*crops, sidecar]) as files, gallery.locations.index.changing():
            gallery.locations.look()
            if gallery.locations.known(sighting.id) is not None:
                return False
            gallery.locations.index.note(sighting.vehicle)
            with gallery.locations.index.making(sighting.vehicle):
                _put(dict(zip(names, files, strict=True)), gallery.root / sighting.vehicle)
            return True
    except OSError as error:
        raise ReIDError(
            f"The sighting {sighting.id} cannot be saved in {gallery.root / sighting.vehicle}: "
            f"{error.strerror or error}. Nothing of it was kept; make room or give another gallery, and register the "
            "source again."
        ) from error


@contextmanager
def waiting(root: Path, contents: Sequence[bytes]) -> Iterator[list[Path]]:
    """`staged` in the gallery `root`, which is made where there is none."""
    folder = root / ADDING
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder, contents) as files:
        yield files


def _put(files: dict[str, Path], folder: Path) -> None:
    """Give files their names in a vehicle's folder: the last one, the sidecar, when the others are there for good."""
    if folder.is_symlink():
        raise ReIDError(f"{folder} is a link; links in a gallery are not followed. Remove it.")
    folder.mkdir(exist_ok=True)
    *crops, sidecar = files
    try:
        for name in crops:
            files[name].replace(folder / name)
        flush_folder(folder)
        files[sidecar].replace(folder / sidecar)
    except OSError:
        for name in crops:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        raise
    flush_folder(folder)
    flush_folder(folder.parent)


def _as_stored(gallery: GalleryReader, sighting: Sighting, pictures: Sequence[np.ndarray]) -> Sighting:
    if not is_plain_name(sighting.id) or len(sighting.id) > _LONGEST_ID:
        raise ReIDError(
            f"the sighting's id is {sighting.id!r}; expected a name of at most {_LONGEST_ID} signs, without a folder."
        )
    if len(pictures) != len(sighting.crops) or len(pictures) == 0:
        raise ReIDError(f"{len(pictures)} pictures came with {len(sighting.crops)} crops; expected one for each.")
    for picture in pictures:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ReIDError(f"a crop is {picture.dtype} {picture.shape}; expected uint8 (height, width, 3).")
    crops = (replace(crop, file=f"{sighting.id}-{number}.jpg") for number, crop in enumerate(sighting.crops))
    return replace(sighting, vehicle=gallery.place_of(sighting.vehicle).name, crops=tuple(crops))
