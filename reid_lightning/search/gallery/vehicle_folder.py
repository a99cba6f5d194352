"""What lies in the folder of a vehicle: sightings with sidecars, pictures that a user put there, leftovers."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reid_lightning.data.images.formats import FORMATS, IMAGE_SUFFIXES, format_of, head_of
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import SUFFIX, read_sidecar
from reid_lightning.search.records import UNKNOWN_TYPE, Crop, Sighting

_JPEG_QUALITY = 95
_CROP_COMMENT = b"reid_lightning sighting "  # in every crop: without a sidecar it is a leftover, not a user's picture
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class FolderContent:
    """`leftovers` are crops to which no sidecar belongs, none where a sidecar cannot be read: they may be its own.
    `problems` say in a line each what was left out, and why; `damaged` are the ids of sidecars among it."""

    sightings: tuple[Sighting, ...]
    leftovers: tuple[Path, ...]
    problems: tuple[str, ...]
    damaged: tuple[str, ...] = ()


def read_folder(
    folder: Path, *, known: Mapping[str, Sighting] | None = None, on_read: Callable[[Path], None] = lambda path: None
) -> FolderContent:
    """Hidden files and links are not looked at; files that go away meanwhile are no problem.

    Args:
        folder: of a vehicle.
        known: what is in some sidecars and pictures of a user's, by their names, which need not be read for it.
        on_read: is called with any other one before it is read.
    """
    known = {} if known is None else known
    try:
        names = files_of(folder)
    except ReIDError as error:
        return FolderContent((), (), (str(error),))
    sightings, leftovers, problems = [], [], []
    present, claimed, damaged = set(names), set[str](), set[str]()
    for name in (name for name in names if name.endswith(SUFFIX)):
        try:
            sighting = known.get(name)
            if sighting is None:
                on_read(folder / name)
                sighting = read_sidecar(folder / name)
            claimed.update(crop.file for crop in sighting.crops)
            missing = next((crop.file for crop in sighting.crops if crop.file not in present), None)
            if missing is not None:
                raise ReIDError(f"The crop {folder / missing} is missing; {name} names it. Restore it, or delete both.")
            sightings.append(sighting)
        except ReIDError as error:
            if (folder / name).exists():
                problems.append(str(error))
                damaged.add(name.removesuffix(SUFFIX))
    for name in names:
        if name.endswith(SUFFIX) or name in claimed or sighting_of(name) in damaged:
            continue
        if name in known:
            sightings.append(known[name])
            continue
        try:
            on_read(folder / name)
            if not name.lower().endswith(IMAGE_SUFFIXES):
                kind = format_of(head_of(folder / name))
                if kind is not None and kind not in FORMATS:
                    problems.append(f"The picture {folder / name} is {kind}, which cannot be decoded here.")
                if kind not in FORMATS:
                    continue
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(f"The picture {folder / name} cannot be read: {error.strerror or error}.")
            continue
        if holds_crop_mark(content):
            leftovers.append(folder / name)
        else:
            sightings.append(sighting_of_picture(folder / name, content))
    crops = () if damaged else tuple(leftovers)
    return FolderContent(tuple(sightings), crops, tuple(problems), tuple(sorted(damaged)))


def own_pictures(folder: Path) -> dict[str, str]:
    """The names of pictures that a user has put into a folder, by the ids of their sightings."""
    return {one.id: one.crops[0].file for one in read_folder(folder).sightings if is_picture(one)}


def sighting_of(crop: str) -> str:
    """The id of the sighting whose crop has this name, `<id>-<number>.<ending>`, if it is a crop."""
    return crop.rpartition("-")[0]


def vehicle_folders(root: Path) -> tuple[list[str], list[str]]:
    """Names of the vehicles' folders, sorted, and problems; links are not followed. ReIDError: see `files_of`."""
    names, problems = [], []
    for entry in _entries(root):
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        try:
            entry.name.encode()
            names.append(entry.name)
        except UnicodeEncodeError:
            problems.append(f"The folder {entry.path!r} has a name that is not UTF-8; rename it.")
    return sorted(names), problems


def files_of(folder: Path) -> list[str]:
    """Names of the files of a folder, sorted; without hidden ones and links. ReIDError: it is no folder, or it cannot
    be read; one that does not exist is empty."""
    return sorted(
        entry.name
        for entry in _entries(folder)
        if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReIDError(
            f"{folder} cannot be read: {error.strerror or error}. Expected a folder of a gallery that this user may "
            "read; name another one, or change its rights."
        ) from error


def encode_crop(picture: np.ndarray, sighting: str) -> bytes:
    """The JPEG file of a crop (height, width, 3) uint8 RGB, which says in a comment what it is."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer, "JPEG", quality=_JPEG_QUALITY, comment=_CROP_COMMENT + sighting.encode()
    )
    return buffer.getvalue()


def numbered(path: Path) -> Iterator[Path]:
    """A name, and `name (2)`, `name (3)`, ... for files that cannot have it."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(f"{path.stem} ({number}){path.suffix}")


def holds_crop_mark(content: bytes) -> bool:
    """Whether a picture's file is a crop that belongs to a sidecar."""
    return _CROP_COMMENT in content[:_HEAD_BYTES]


def picture_id(vehicle: str, name: str, content: bytes) -> str:
    """The id of a sighting that is one picture of a user's: a hash of vehicle, file name and bytes."""
    return hashlib.sha256(f"{vehicle}/{name}/".encode("utf-8", "surrogateescape") + content).hexdigest()[:16]


def sighting_of_picture(path: Path, content: bytes) -> Sighting:
    """What is known of a picture of a user's, which holds these bytes."""
    crop = Crop(path.name, frame=0, seconds=0.0, box=(0.0, 0.0, 0.0, 0.0), score=1.0, quality=1.0)
    return Sighting(
        id=picture_id(path.parent.name, path.name, content),
        vehicle=path.parent.name,
        camera="",
        source="",
        source_name="",
        track=0,
        type=UNKNOWN_TYPE,
        detector="",
        crops=(crop,),
    )


def is_picture(sighting: Sighting) -> bool:
    """Whether it is a user's picture without a sidecar."""
    return not sighting.source and not sighting.detector
