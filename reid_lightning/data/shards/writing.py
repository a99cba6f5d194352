"""A data set's pictures into shards: the folder appears when all of it is written, or not at all."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reid_lightning.atomic import write_atomically
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import PicturePath, Split, VehicleDataset, VehicleImage
from reid_lightning.data.shards.index import INDEX, NAMES, SPLITS, save_index
from reid_lightning.data.shards.tar import TarShards
from reid_lightning.drawing.progress import progress_bar
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import name_of_file, readable

SUMS = "SHA256SUMS"

_Stored = tuple[VehicleImage, list[str]]
"""A picture to write: a record of it, and the splits that it is in, of which the first one names its shard."""

_STEM = 60  # characters of a file's name that its member keeps; a tar header has room for 100
_OVERHEAD = 5 * 512  # of a picture: two headers, its JSON, and what fills the last blocks, at most
_INDEXED = 400  # bytes of a picture in the index, generously


def check_output(output: Path | str, *, shard_mib: float) -> Path:
    """The folder to write, before anything is read for it; `ReIDError` if it exists, has no writable folder around it,
    or `shard_mib` is no size."""
    if isinstance(shard_mib, bool) or not isinstance(shard_mib, int | float) or not 0 < shard_mib < float("inf"):
        raise ReIDError(f"shard_mib is {shard_mib!r}; expected the MiB of a shard, such as 256.")
    output = Path(output).expanduser().absolute()
    if os.path.lexists(output):
        raise ReIDError(f"output: {output} exists; name a folder that does not, or remove it first.")
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise ReIDError(f"output: {output.parent} is no folder that you may write to; make it, or choose another.")
    return output


def write_shards(dataset: VehicleDataset, output: Path | str, *, shard_mib: float = 256) -> Path:
    """Write the pictures of `dataset` as shards of about `shard_mib` MiB into the new folder `output`, with an index.

    What a killed writer has left is a hidden folder beside `output`, which the next one removes; a lock keeps two from
    writing the same. The bytes depend on the data set and `shard_mib` alone. One picture is in memory at a time.

    Raises:
        ReIDError: `output` exists, somebody else is writing it, there are no pictures, one of them cannot be read, or
            the disk has not enough room.
    """
    output = check_output(output, shard_mib=shard_mib)
    images = _in_order(dataset)
    if not images:
        raise ReIDError(f"data set {dataset.name!r} holds no pictures, so there is nothing to write.")
    _check_room(images, output)
    part = output.with_name(f".{output.name}.part")
    try:
        with FileLock(output.with_name(f".{output.name}.lock"), timeout=0):
            check_output(output, shard_mib=shard_mib)
            shutil.rmtree(part, ignore_errors=True)
            try:
                part.mkdir()
                _write_all(dataset, images, part, shard_bytes=int(shard_mib * 2**20))
                part.rename(output)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    except Timeout as error:
        raise ReIDError(f"output: another process is writing {output}; wait for it, or choose another.") from error
    except OSError as error:
        raise ReIDError(
            f"Cannot write the shards into {output}: {error.strerror or error}. Free some space there, or choose "
            "another folder with output=<folder>."
        ) from error
    return output


def _in_order(dataset: VehicleDataset) -> list[_Stored]:
    """Every picture once, split by split, an identity's next to each other, identities in random order."""
    splits_of: dict[PicturePath, list[str]] = {}
    order: list[_Stored] = []
    for split in SPLITS:
        groups: dict[str, list[_Stored]] = {}
        for image in (image for part in (dataset, *dataset.parts) for image in getattr(part, split)):
            splits = splits_of.setdefault(image.path, [])
            if not splits:
                groups.setdefault(image.identity, []).append((image, splits))
            if split not in splits:
                splits.append(split)
        identities = sorted(groups)
        random.Random(split).shuffle(identities)
        order += [one for identity in identities for one in groups[identity]]
    return order


def _check_room(images: list[_Stored], output: Path) -> None:
    needed = sum(_size(image) + _OVERHEAD + _INDEXED for image, _ in images)
    free = shutil.disk_usage(output.parent).free
    if free < needed:
        raise ReIDError(
            f"{output.parent} has {free / 1e6:,.0f} MB free; the shards of {len(images):,} pictures need about "
            f"{needed / 1e6:,.0f} MB. Free some space, or choose another folder with output=<folder>."
        )


def _size(image: VehicleImage) -> int:
    try:
        return image.path.length if isinstance(image.path, PackedPicture) else image.path.stat().st_size
    except OSError as error:
        raise _unreadable(image, error) from error


def _write_all(dataset: VehicleDataset, images: list[_Stored], folder: Path, *, shard_bytes: int) -> None:
    base = _common_folder(images)
    packed: dict[PicturePath, PackedPicture] = {}
    with TarShards(folder, shard_bytes=shard_bytes) as shards, progress_bar(transient=True) as progress:
        for number, (image, splits) in enumerate(progress.track(images, description="writing shards")):
            try:
                data = image.path.read_bytes()
            except OSError as error:
                raise _unreadable(image, error) from error
            known = {name: value for name in NAMES if (value := getattr(image, name)) is not None}
            known |= {"splits": splits, "source": readable(os.path.relpath(str(image.path), base))}
            packed[image.path] = shards.add(
                data, known, split=splits[0], key=_key(image, number), ending=_ending(image)
            )
    save_index(_repacked(dataset, packed), folder, sizes=shards.sizes)
    sums = {**shards.sums, INDEX: hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()}
    write_atomically(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def _key(image: VehicleImage, number: int) -> str:
    """Unlike any other, plain, and without a dot: WebDataset ends a key at the first one."""
    stem = re.sub("[^A-Za-z0-9_-]", "_", os.path.splitext(name_of_file(image.path.name))[0])
    return f"{number:08d}_{stem[:_STEM]}"


def _ending(image: VehicleImage) -> str:
    ending = image.path.suffix[1:].lower()
    return ending if re.fullmatch("[a-z0-9]{1,8}", ending) else "img"


def _common_folder(images: list[_Stored]) -> str:
    """What the names of all files start with, so that no member tells where on a machine they lay."""
    folders = {os.path.dirname(os.path.abspath(str(image.path))) for image, _ in images}
    return os.path.commonpath(folders)


def _repacked(dataset: VehicleDataset, packed: dict[PicturePath, PackedPicture]) -> VehicleDataset:
    """The data set with its pictures where they lie now; pictures that were skipped are not in it."""

    def moved(split: Split) -> Split:
        return tuple(replace(image, path=packed[image.path]) for image in split)

    parts = tuple(_repacked(part, packed) for part in dataset.parts)
    splits: dict[str, Any] = {split: moved(getattr(dataset, split)) for split in SPLITS}
    return replace(dataset, **splits, skipped=(), parts=parts)


def _unreadable(image: VehicleImage, error: OSError) -> ReIDError:
    return ReIDError(f"The picture {image.path} cannot be read: {error.strerror or error}. Replace the file.")
