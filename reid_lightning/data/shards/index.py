"""The index of a folder of shards: a data set whose pictures are `PackedPicture`s, as one file of plain arrays.

An .npz without pickle and without compression, so that a stranger's can neither run code nor grow; every number in it
is checked before a picture is read with it.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reid_lightning.atomic import replacing
from reid_lightning.data.packed_picture import PackedPicture
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.untrusted.names import composed

INDEX = "index.npz"
FORMAT, VERSION = "reid_lightning shards", 1
SPLITS = ("train", "query", "gallery", "validation")
NAMES = ("identity", "camera", "track", "colour", "type", "viewpoint")
ROWS = ("gt_index", "jk_index", "gallery_draws")
"""Fields of `VehicleDataset` that are lists of lists of rows, or None."""

_SHARD_NAME = re.compile(r"(train|query|gallery|validation)-\d{6,}\.tar")
_MEMBER_NAME = re.compile(r"[A-Za-z0-9_-]+\.[a-z0-9]+")


def save_index(dataset: VehicleDataset, folder: Path, *, sizes: Mapping[str, int]) -> Path:
    """Write `folder/index.npz`, whole or not at all. `sizes`: bytes of each shard, by name.

    The pictures of `dataset` and of its parts are `PackedPicture`s whose `shard` is a name of `sizes`.
    """
    numbers: dict[VehicleImage, int] = {}
    arrays: dict[str, np.ndarray] = {}
    sets = (dataset, *dataset.parts)
    for position, part in enumerate(sets):
        for split in SPLITS:
            rows = [numbers.setdefault(image, len(numbers)) for image in getattr(part, split)]
            if rows or split != "validation":  # which programs of version 1 did not always write
                arrays[f"{position}_{split}"] = np.array(rows, np.int64)
        for name in ROWS:
            if (lists := getattr(part, name)) is not None:
                arrays[f"{position}_{name}"] = np.array([row for rows in lists for row in rows], np.int64)
                arrays[f"{position}_{name}_counts"] = np.array([len(rows) for rows in lists], np.int64)
    number_of = {name: number for number, name in enumerate(sizes)}
    pictures = [image.path for image in numbers if isinstance(image.path, PackedPicture)]
    if len(pictures) < len(numbers):
        raise TypeError("an index is of packed pictures, and some of these are files")
    arrays["shard"] = np.array([number_of[picture.shard] for picture in pictures], np.int64)
    for name in ("offset", "length", "crc32"):
        arrays[name] = np.array([getattr(picture, name) for picture in pictures], np.int64)
    arrays["member"] = _as_json([picture.member for picture in pictures])
    for name in NAMES:
        values = [getattr(image, name) for image in numbers]
        known = {value: code for code, value in enumerate(sorted(set(values) - {None}))}
        arrays[f"{name}_names"] = _as_json(list(known))
        arrays[name] = np.array([known.get(value, -1) for value in values], np.int64)
    head = {"format": FORMAT, "version": VERSION, "shards": dict(sizes), "sets": [part.name for part in sets]}
    path = folder / INDEX
    with replacing(path) as unfinished:
        np.savez(unfinished, allow_pickle=False, head=_as_json(head), **arrays)
    return path


def load_index(folder: Path) -> VehicleDataset:
    """The data set of a folder of shards, in the order it was written in. No picture is read, but every shard is there
    and has its size.

    Raises `ReIDError` that names the file: no such file, another program's or version's, damaged, a shard that is
    missing or of another size.
    """
    path = folder / INDEX
    try:
        with zipfile.ZipFile(path) as file:
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):
                raise ValueError("it is compressed, which no index is")
        with np.load(path, allow_pickle=False) as arrays:
            head = _from_json(arrays["head"])
            _check_version(head, path)
            shards = _checked_shards(head["shards"], folder)
            pictures = _pictures(arrays, shards, folder)
            return _dataset(arrays, head["sets"], pictures)
    except ReIDError:
        raise
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror or error}. Copy it again.") from error
    except Exception as error:  # zipfile, numpy and json raise many kinds on damaged bytes
        raise ReIDError(
            f"{path} is not a whole index of shards: {_reason(error)}. Copy the folder again, or write "
            "it again with reid data shards."
        ) from error


def _reason(error: BaseException) -> str:
    return shortened(str(error) or type(error).__name__, 300)


def _check_version(head: Any, path: Path) -> None:
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError("another program's file")
    if head.get("version") != VERSION:
        raise ReIDError(
            f"{path} is of version {head.get('version')!r}; this program reads version {VERSION}. Write the shards "
            "again with this program, or use the one that wrote them."
        )


def _checked_shards(sizes: Mapping[str, int], folder: Path) -> list[tuple[str, int]]:
    """(name, bytes) of every shard, all of which lie in `folder`."""
    for name, size in sizes.items():
        if not _SHARD_NAME.fullmatch(name) or type(size) is not int:
            raise ValueError(f"{name!r} is no name of a shard with its size")
        path = folder / name
        try:
            there = path.stat().st_size
        except OSError as error:
            raise ReIDError(f"{folder} has no {name}, or not for you ({error.strerror}). Copy it again.") from error
        if there != size:
            raise ReIDError(f"{path} has {there:,} bytes; expected {size:,}. Copy it again.")
    return list(sizes.items())


def _pictures(arrays: Mapping[str, np.ndarray], shards: Sequence[tuple[str, int]], folder: Path) -> list[VehicleImage]:
    members = _texts(arrays["member"])
    count = len(members)
    for member in members:
        if not _MEMBER_NAME.fullmatch(member):
            raise ValueError(f"{member[:80]!r} is no name of a picture")
    shard = _whole(arrays["shard"], count=count, below=len(shards))
    offset, length = (_whole(arrays[name], count=count) for name in ("offset", "length"))
    crc32 = _whole(arrays["crc32"], count=count, below=1 << 32)
    sizes = np.array([size for _, size in shards], np.int64)
    if count and ((length < 1) | (offset > sizes[shard] - length)).any():
        raise ValueError("a picture lies outside its shard")
    paths = [str(folder / name) for name, _ in shards]
    columns = []
    for name in NAMES:
        names = [*map(composed, _texts(arrays[f"{name}_names"])), None]  # -1, which is unknown, takes the last one
        codes = _whole(arrays[name], count=count, least=0 if name == "identity" else -1, below=len(names) - 1)
        columns.append([names[code] for code in codes.tolist()])
    places = zip(shard.tolist(), offset.tolist(), length.tolist(), crc32.tolist(), members, strict=True)
    return [
        VehicleImage(PackedPicture(paths[number], *place), *names)
        for (number, *place), *names in zip(places, *columns, strict=True)
    ]


def _dataset(
    arrays: Mapping[str, np.ndarray], names: Sequence[str], pictures: Sequence[VehicleImage]
) -> VehicleDataset:
    sets = []
    for position, name in enumerate(_checked_texts(names)):
        train, query, gallery, validation = (
            tuple(pictures[row] for row in _whole(rows, below=len(pictures)).tolist())
            for rows in (
                *(arrays[f"{position}_{split}"] for split in SPLITS[:-1]),
                arrays.get(f"{position}_validation", np.zeros(0, np.int64)),
            )
        )
        sets.append(
            VehicleDataset(
                name,
                train,
                query,
                gallery,
                gt_index=_lists(arrays, f"{position}_gt_index", count=len(query), below=len(gallery)),
                jk_index=_lists(arrays, f"{position}_jk_index", count=len(query), below=len(gallery)),
                gallery_draws=_lists(arrays, f"{position}_gallery_draws", count=None, below=len(query) + len(gallery)),
                validation=validation,
            )
        )
    whole, *parts = sets
    return replace(whole, parts=tuple(parts))


def _lists(
    arrays: Mapping[str, np.ndarray], name: str, *, count: int | None, below: int
) -> tuple[tuple[int, ...], ...] | None:
    if name not in arrays:
        return None
    values = _whole(arrays[name], below=below).tolist()
    counts = _whole(arrays[f"{name}_counts"], count=count, below=len(values) + 1)
    ends = np.cumsum(counts).tolist()
    if sum(counts.tolist()) != len(values):
        raise ValueError(f"{name} has {len(values):,} rows where {sum(counts.tolist()):,} are counted")
    return tuple(tuple(values[end - size : end]) for end, size in zip(ends, counts.tolist(), strict=True))


def _whole(array: np.ndarray, *, count: int | None = None, least: int = 0, below: int | None = None) -> np.ndarray:
    """The array, provided that it is (count,) int64 from `least` to before `below`."""
    if array.dtype != np.int64 or array.ndim != 1 or (count is not None and len(array) != count):
        raise ValueError(
            f"{array.dtype} {array.shape} where {'rows' if count is None else f'{count:,} numbers'} belong"
        )
    if len(array) and (array.min() < least or (below is not None and array.max() >= below)):
        limit = "any" if below is None else f"less than {below}"
        raise ValueError(f"numbers from {array.min()} to {array.max()}; expected {least} or more, {limit}")
    return array


def _as_json(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode("ascii"), np.uint8)


def _from_json(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())


def _texts(array: np.ndarray) -> list[str]:
    return _checked_texts(_from_json(array))


def _checked_texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("something else where a list of names belongs")
    return values
