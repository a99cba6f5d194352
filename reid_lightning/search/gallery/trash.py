"""What it takes to undo a deletion, a merge or a new name, kept for some days in a hidden folder of the gallery.

`.deleted/<id>/note.json` says what was done; what was deleted lies beside it, in a folder called like the vehicle, so
that an entry is a gallery of one vehicle. Whatever else lies in `.deleted` is to be removed: what a killed process has
left, and entries whose note is damaged.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from reid_lightning.atomic import save
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import is_plain_name
from reid_lightning.search.plates.names import folder_name, vehicle_name

FOLDER = ".deleted"
KEPT_SECONDS = 7 * 86_400.0
"""After which an entry is removed for good, by whoever changes, repairs or syncs the gallery next."""

_FORMAT = 1
_NOTE, _VECTORS = "note.json", "vectors.npz"
_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")
_ACTIONS = ("delete", "merge", "rename")
_AHEAD_SECONDS = 86_400.0  # that another machine's clock may be; what is later would never be over


class NotRemovedError(ReIDError):
    """What was deleted is no longer in the gallery, but still on the disk."""


class NothingKeptError(ReIDError):
    """The trash holds nothing of this id or vehicle."""

    def __init__(self, root: Path, which: str) -> None:
        super().__init__(f"The trash of {root} holds nothing called {which!r}; `trash` shows what it holds.")


@dataclass(frozen=True)
class Removed:
    """What was done and can be undone: `vehicle` was deleted, or a sighting of it, or it was merged or renamed `into`
    another; `when` in seconds since 1970.

    `sightings` are ids; `pictures` are a user's own that were merged, SHA-256 of the bytes -> name before.
    """

    id: str
    action: str
    vehicle: str
    when: float
    into: str = ""
    sightings: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)

    @property
    def until(self) -> float:
        """When it is removed for good, in seconds since 1970."""
        return self.when + KEPT_SECONDS


def keep(root: Path, action: str, vehicle: str, **values: object) -> Removed:
    """Write down what is about to be done."""
    now = time.time()
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S")
    entry = Removed(f"{stamp}-{uuid.uuid4().hex[:8]}", action, vehicle, now, **values)  # type: ignore[arg-type]
    folder_of(root, entry).mkdir(parents=True)
    _write(root, entry)
    return entry


def shorten(root: Path, entry: Removed, *, sightings: Collection[str]) -> None:
    """Say no more of a merge or new name than these sightings; without any, it goes."""
    left = tuple(one for one in entry.sightings if one in sightings)
    if not left:
        remove(root, [entry])
    elif left != entry.sightings:
        _write(root, replace(entry, sightings=left))


def entries(root: Path) -> list[Removed]:
    """What can be undone, the latest first."""
    folder = root / FOLDER
    if not _is(folder):
        return []
    found = (_read(path) for path in folder.iterdir() if not path.is_symlink())
    return sorted((one for one in found if one is not None), key=lambda one: (-one.when, one.id))


def folder_of(root: Path, entry: Removed) -> Path:
    """Where an entry lies."""
    return root / FOLDER / entry.id


def damaged(root: Path) -> list[Path]:
    """Whatever is no entry: nobody can say whose it is."""
    folder = root / FOLDER
    return sorted(path for path in folder.iterdir() if path.is_symlink() or _read(path) is None) if _is(folder) else []


def expired(root: Path) -> list[Removed]:
    """Entries whose time is over."""
    return [entry for entry in entries(root) if entry.until < time.time()]


def remove(root: Path, some: Iterable[Removed]) -> None:
    """Remove entries from the disk. NotRemovedError: files of them could not be removed."""
    away = []
    for entry in some:
        unnamed = root / FOLDER / uuid.uuid4().hex  # killed from here on, it is a leftover
        try:
            folder_of(root, entry).rename(unnamed)
        except FileNotFoundError:  # somebody else removes it
            continue
        away.append((entry.vehicle, unnamed))
    for vehicle, folder in away:
        remove_folder(folder, vehicle)


def remove_folder(folder: Path, vehicle: str) -> None:
    """Remove what is out of the gallery. NotRemovedError: not all of it could be."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_symlink() or folder.is_file():
        with suppress(OSError):
            folder.unlink()
    if os.path.lexists(folder):
        left = sum(path.is_file() for path in [folder, *folder.rglob("*")]) or "some"
        raise NotRemovedError(
            f"{vehicle} is out of the gallery, but {left} of its files could not be removed and lie in {folder}. "
            "Remove that folder with the rights that it takes."
        )


def keep_vectors(root: Path, entry: Removed, fingerprint: str, vectors: Mapping[str, np.ndarray]) -> None:
    """Put the vectors of an entry's records, by id, beside it."""
    if vectors:
        content = io.BytesIO()
        ids, rows = np.array([*vectors], dtype=np.str_), np.stack([*vectors.values()])
        np.savez(content, fingerprint=np.array(fingerprint), ids=ids, vectors=rows)
        with suppress(OSError):  # they can be made again
            save(folder_of(root, entry) / _VECTORS, content.getvalue())


def kept_vectors(root: Path, entry: Removed, fingerprint: str) -> dict[str, np.ndarray]:
    """Those of this model; none where they are another's, damaged or not there."""
    try:
        with np.load(folder_of(root, entry) / _VECTORS, allow_pickle=False) as file:
            if str(file["fingerprint"]) != fingerprint:
                return {}
            return dict(zip(file["ids"].tolist(), file["vectors"].astype(np.float32), strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}


def forget_vectors(root: Path, entry: Removed) -> None:
    """Some of an entry was removed for good: it is embedded again if it comes back."""
    (folder_of(root, entry) / _VECTORS).unlink(missing_ok=True)


def chosen(root: Path, which: str) -> Removed:
    """The entry of this id, or the latest of the vehicle of this name. NothingKeptError: there is none."""
    found = next((entry for entry in entries(root) if is_called(entry, which)), None)
    if found is None:
        raise NothingKeptError(root, which)
    return found


def is_called(entry: Removed, which: str) -> bool:
    """Whether this is its id or a name of its vehicle, which is found as the gallery finds it."""
    names = {which}
    with suppress(ReIDError):
        names |= {vehicle_name(which), folder_name(which)}
    return which == entry.id or entry.vehicle in names


def _write(root: Path, entry: Removed) -> None:
    content = json.dumps({"format": _FORMAT, **asdict(entry)}, indent=1) + "\n"
    save(folder_of(root, entry) / _NOTE, content.encode())


def _is(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _read(path: Path) -> Removed | None:
    """None: it is no entry, or a damaged one, or one of a deletion that never happened."""
    if _ID.fullmatch(path.name) is None:
        return None
    try:
        values = json.loads((path / _NOTE).read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT or values["id"] != path.name:
            return None
        entry = Removed(**{**values, "when": float(values["when"]), "sightings": tuple(values["sightings"])})
        names = [entry.vehicle, *entry.pictures.values(), *([] if entry.action == "delete" else [entry.into])]
        if not all(map(is_plain_name, names)) or not all(isinstance(one, str) for one in entry.sightings):
            return None
        if entry.action not in _ACTIONS or not math.isfinite(entry.when) or entry.when > time.time() + _AHEAD_SECONDS:
            return None
        return entry if entry.action != "delete" or _is(path / entry.vehicle) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
