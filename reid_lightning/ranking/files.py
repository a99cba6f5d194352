"""Embeddings as files: the JSON of arXiv 1910.09458's authors, fast binary forms, and folders of many of these.

Features are `{track: [[...], ...]}`; a track's name begins with its vehicle and camera, as in "0002_c002".
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from reid_lightning.atomic import replacing
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.ranking.checks import check_embeddings
from reid_lightning.ranking.mapped import stacked
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.untrusted.names import composed

SUFFIXES = (".json", ".safetensors", ".npz")
PIECES = "pieces.json"
"""In a folder of embeddings in several files (`reid embed`): how many there are, and of what."""

_UNPACKED_AT_LEAST, _UNPACKED_TIMES = 1 << 26, 50  # an .npz may be compressed, and numbers pack little
_CRC32 = "crc32"
_COLUMNS = ("identities", "cameras", "tracks", "names")
_CAMERA = re.compile(r"c?\d+")
_FEATURES = '{"0002_c002": [[0.1, ...], ...], ...}: a list of embeddings for each track <vehicle>_<camera>'


def read_embeddings(path: str | Path) -> EmbeddingTable:
    """Read a .json, .safetensors or .npz file of embeddings, or a folder of several that `reid embed` has filled.

    The numbers of .safetensors stay on the disk (memory-mapped) and are read where they are used: they may be more than
    memory holds. Of .json and .npz all are read.

    Binary files hold `embeddings` (pictures, dim) and, as arrays of text (npz) or JSON lists in the metadata
    (safetensors), `identities` and where known `cameras`, `tracks`, `names` and `model`.

    Raises:
        ReIDError: no such file, another ending, not what `write_embeddings` writes, rows of different lengths, or
            numbers that are not finite; it names the file and the track.
    """
    path = Path(path)
    if path.is_dir():
        return _read_pieces(path)
    readers = {".json": _read_json, ".safetensors": _read_safetensors, ".npz": _read_npz}
    if not path.is_file():
        raise ReIDError(f"no file or folder of embeddings at {path} (seen from {Path.cwd()}).")
    if path.suffix not in readers:
        raise ReIDError(f"{path} ends in {path.suffix!r}; expected a file of embeddings: {', '.join(SUFFIXES)}.")
    try:
        table = readers[path.suffix](path)
    except ReIDError as error:
        raise ReIDError(f"{path}: {error}") from error
    check_embeddings(f"{path}: embeddings", table.embeddings)

    def compose(names: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(map(composed, names))

    identities = compose(table.identities) or ()
    return replace(table, identities=identities, cameras=compose(table.cameras), tracks=compose(table.tracks))


def piece_file(number: int) -> str:
    """The name of the file of this number, from 0, in a folder of embeddings."""
    return f"{number:06d}.safetensors"


def embedding_files(folder: Path) -> list[Path]:
    """Those that are there already of a folder of embeddings."""
    return sorted(folder.glob("[0-9]" * 6 + "*.safetensors"))


def names_in(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """The model and the names in a file of embeddings; None: it is not there, not whole, or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            columns, rows = dict(file.metadata() or {}), file.get_slice("embeddings").get_shape()[0]
        names = _text("names", json.loads(columns["names"]))
        is_whole = rows == len(names) and columns.get(_CRC32) in (None, _crc32_of(path))
        return (columns.get("model", ""), names) if is_whole else None
    except (SafetensorError, ReIDError, KeyError, ValueError, OSError):
        return None


def _read_pieces(folder: Path) -> EmbeddingTable:
    content = load_json(folder / PIECES) if (folder / PIECES).is_file() else None
    files = content.get("files") if isinstance(content, Mapping) else None
    if not isinstance(files, int) or files < 1:
        raise ReIDError(f"{folder} is no folder of embeddings: there is no {PIECES} of `reid embed` in it.")
    missing = [number for number in range(files) if not (folder / piece_file(number)).is_file()]
    if missing:
        raise ReIDError(
            f"{folder}: {len(missing):,} of {files:,} files are not there yet, such as {piece_file(missing[0])}. Call "
            "`reid embed` for the other parts, or again for those that were interrupted."
        )
    tables = [read_embeddings(folder / piece_file(number)) for number in range(files)]
    first = tables[0]
    if any(one.embeddings.shape[1] != first.embeddings.shape[1] or one.model != first.model for one in tables):
        raise ReIDError(f"{folder}: its files are of different models. Remove the folder, and embed again.")
    joined: dict[str, tuple[str, ...] | None] = {}
    for name in _COLUMNS:
        parts = [getattr(one, name) for one in tables]
        joined[name] = None if None in parts else tuple(chain.from_iterable(parts))
    try:
        embeddings = stacked([one.embeddings for one in tables], folder)
    except OSError as error:
        raise ReIDError(
            f"{folder}: its files cannot be joined, for which the disk needs their size once more: "
            f"{error.strerror or error}. Free some of it, or set TMPDIR to a folder on another disk."
        ) from error
    return EmbeddingTable(
        embeddings,
        joined["identities"] or (),
        joined["cameras"],
        joined["tracks"],
        joined["names"],
        first.model,
    )


def write_embeddings(path: str | Path, table: EmbeddingTable) -> Path:
    """Write embeddings in the form that the path's ending says; the file appears whole or not at all.

    .safetensors and .npz keep everything (npz knows no bfloat16 and holds float32 instead). .json keeps tracks, each
    picture its own where there are none, with vehicle and camera in their names: ReIDError where a name cannot say so.
    """
    path = Path(path)
    writers = {".json": _write_json, ".safetensors": _write_safetensors, ".npz": _write_npz}
    if path.suffix not in writers:
        raise ReIDError(f"{path} ends in {path.suffix!r}; expected {', '.join(SUFFIXES)}.")
    with replacing(path) as unfinished:
        writers[path.suffix](unfinished, table)
    return path


def _read_json(path: Path) -> EmbeddingTable:
    content = load_json(path)
    if not isinstance(content, Mapping) or not content:
        raise ReIDError(f"no tracks in it; expected {_FEATURES}.")
    parts, width = [], None
    for track, pictures in content.items():
        try:
            part = torch.tensor(pictures, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ReIDError(f"track {track!r}: {error}; expected {_FEATURES}.") from error
        if part.ndim == 1 and len(part):
            part = part[None]  # one picture, written without its list
        width = part.shape[-1] if width is None and part.ndim else width
        if part.ndim != 2 or 0 in part.shape or part.shape[1] != width:
            raise ReIDError(
                f"track {track!r} has shape {tuple(part.shape)}; expected (pictures, {width}), {_FEATURES}."
            )
        if not torch.isfinite(part).all():
            raise ReIDError(f"track {track!r} holds NaN or infinity.")
        parts.append(part)
    tracks = tuple(track for track, part in zip(content, parts, strict=True) for _ in range(len(part)))
    identities, cameras = zip(*map(_parsed, tracks), strict=True)
    return EmbeddingTable(torch.cat(parts), identities, None if "" in cameras else cameras, tracks)


def _parsed(track: str) -> tuple[str, str]:
    """Vehicle and camera of a track by its name: its first word, and its second one where it looks like a camera."""
    words = track.split("_")
    return words[0], words[1] if len(words) > 1 and _CAMERA.fullmatch(words[1]) else ""


def _write_json(path: Path, table: EmbeddingTable) -> None:
    tracks: dict[str, list[list[float]]] = {}
    cameras = table.cameras or ("",) * len(table.identities)
    own_names = table.tracks or tuple(map(str, range(len(table.identities))))
    columns = zip(table.embeddings.tolist(), table.identities, cameras, own_names, strict=True)
    for embedding, identity, camera, own in columns:
        name = own if _parsed(own) == (identity, camera) else f"{identity}_{camera or 'track'}_{own}"
        if _parsed(name) != (identity, camera):
            raise ReIDError(
                f"the name {name!r} does not say vehicle {identity!r} and camera {camera!r}, as JSON features must: "
                "<vehicle>_c<number>, no _ in either. Write .safetensors or .npz instead."
            )
        tracks.setdefault(name, []).append(embedding)
    path.write_text(json.dumps(tracks), encoding="utf-8")


def _write_safetensors(path: Path, table: EmbeddingTable) -> None:
    columns = {name: json.dumps(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    content = save({"embeddings": table.embeddings.detach().cpu().contiguous()})
    size = int.from_bytes(content[:8], "little")
    numbers = memoryview(content)[8 + size :]
    said = {**columns, "model": table.model, _CRC32: f"{zlib.crc32(numbers):08x}"}
    # entries in their order, in which the library writes them is chance: equal tables shall be equal files
    header = json.dumps(
        {**json.loads(content[8 : 8 + size]), "__metadata__": said}, sort_keys=True, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(numbers)


def _read_safetensors(path: Path) -> EmbeddingTable:
    try:
        with safe_open(path, framework="pt") as file:
            embeddings, columns = file.get_tensor("embeddings"), dict(file.metadata() or {})
        if columns.get(_CRC32) not in (None, _crc32_of(path)):
            raise ReIDError("its numbers are not those that were written (their checksum differs).")
        names = {name: _text(name, json.loads(columns[name])) for name in _COLUMNS if name in columns}
        return EmbeddingTable(embeddings, **names, model=columns.get("model", ""))
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise ReIDError(f"not a file of embeddings as write_embeddings writes it: {shortened(error, 300)}.") from error


def _crc32_of(path: Path) -> str:
    """Of what follows the header of a .safetensors file."""
    checksum = 0
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), os.SEEK_CUR)
        while part := file.read(1 << 20):
            checksum = zlib.crc32(part, checksum)
    return f"{checksum:08x}"


def _write_npz(path: Path, table: EmbeddingTable) -> None:
    columns = {name: np.array(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    embeddings = table.embeddings.detach().cpu()
    embeddings = embeddings.float() if embeddings.dtype == torch.bfloat16 else embeddings
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, embeddings=embeddings.numpy(), model=table.model, **columns)


def _read_npz(path: Path) -> EmbeddingTable:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _UNPACKED_AT_LEAST + _UNPACKED_TIMES * path.stat().st_size:
            raise ReIDError(f"it unpacks to {unpacked:,} bytes, far more than embeddings do.")
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file}
        names = {name: _text(name, columns[name].tolist()) for name in _COLUMNS if name in columns}
        model = str(columns["model"]) if "model" in columns else ""
        return EmbeddingTable(torch.from_numpy(columns["embeddings"]), **names, model=model)
    except ReIDError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged archive
        raise ReIDError(f"not a file of embeddings as write_embeddings writes it: {shortened(error, 300)}.") from error


def _text(name: str, values: Any) -> tuple[str, ...]:
    """A column of names; whole numbers are taken as text."""
    if not isinstance(values, list) or not all(type(value) in (str, int) for value in values):
        raise ReIDError(f"{name} is {str(values)[:60]}; expected a list of texts, one for each embedding.")
    return tuple(sys.intern(str(value)) for value in values)  # of a million names of cameras twenty are different


def load_json(path: Path) -> Any:
    """What a JSON file holds. ReIDError: it cannot be read, is no JSON, or names something twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            repeated = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise ReIDError(f"{path} holds {repeated!r} twice; every track needs a name of its own.")
        return content

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror} (seen from {Path.cwd()}).") from error
    except (ValueError, RecursionError) as error:
        raise ReIDError(f"{path} is not JSON: {error}.") from error
