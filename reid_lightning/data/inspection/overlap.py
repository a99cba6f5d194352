"""Pictures and identities that are on both sides of a split, whatever their paths are called.

A picture under two spellings of one path, or behind a link, is one place; one that was written into shards has another
place, but the same name, length and CRC-32. Copies of files and hard links are not seen.
"""

from __future__ import annotations

import functools
import os
import re
import zlib
from collections.abc import Callable, Iterable

from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import PicturePath, VehicleDataset, VehicleImage
from reid_lightning.untrusted.names import name_of_file

Place = tuple[str, str | int]
Content = tuple[str, int, int]

_NUMBERS = re.compile(r"^(?:\d{8}_)+")  # that writing shards, and shards of shards, puts before a file's name
_COMPARED = 40  # characters of a name: a member keeps 60, of which each further writing takes 9


def place_finder() -> Callable[[PicturePath], Place]:
    """A function that gives equal places for equal files: (folder without links, name), or (shard, offset).

    Each folder is resolved once, so that a million pictures take seconds.
    """
    real = functools.cache(os.path.realpath)

    def place_of(path: PicturePath) -> Place:
        if isinstance(path, PackedPicture):
            return real(path.shard), path.offset
        folder, name = os.path.split(path)
        if os.path.islink(path):
            return os.path.split(os.path.realpath(path))
        return real(folder), name

    return place_of


def content_finder(paths: Iterable[PicturePath]) -> Callable[[PicturePath], Content | None]:
    """A function that gives equal (name, length, CRC-32) for a picture in two folders of shards, and for one in a shard
    and the file it was made of; None where no shard among `paths` holds the like.

    Only files with a packed picture's name and length are read.
    """
    packed = {(_stem(path), path.length) for path in paths if isinstance(path, PackedPicture)}
    stems = {stem for stem, _ in packed}

    def content_of(path: PicturePath) -> Content | None:
        if not stems or (stem := _stem(path)) not in stems:
            return None
        if isinstance(path, PackedPicture):
            return stem, path.length, path.crc32
        try:
            if (stem, os.stat(path).st_size) not in packed:
                return None
            data = path.read_bytes()
        except OSError:  # the reader tells of it
            return None
        return stem, len(data), zlib.crc32(data)

    return content_of


def evaluated_pictures(dataset: VehicleDataset) -> tuple[VehicleImage, ...]:
    """Query and gallery, of a joined data set those of all its parts."""
    return tuple(image for part in dataset.parts or (dataset,) for image in (*part.query, *part.gallery))


def shared_pictures(dataset: VehicleDataset) -> tuple[PicturePath, ...]:
    """Query and gallery pictures that are training pictures too, each once."""
    place_of = place_finder()
    learned = {place_of(image.path) for image in dataset.train}
    evaluated = (image.path for image in evaluated_pictures(dataset))
    return tuple({place: path for path in evaluated if (place := place_of(path)) in learned}.values())


def shared_identities(dataset: VehicleDataset) -> tuple[str, ...]:
    """Sorted identities of training pictures that query or gallery pictures have too."""
    learned = {image.identity for image in dataset.train}
    return tuple(sorted(learned & {image.identity for image in evaluated_pictures(dataset)}))


def _stem(path: PicturePath) -> str:
    stem = re.sub("[^A-Za-z0-9_-]", "_", os.path.splitext(name_of_file(path.name))[0])
    return _NUMBERS.sub("", stem)[:_COMPARED]
