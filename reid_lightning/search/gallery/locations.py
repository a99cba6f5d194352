"""Where each sighting is now, though other processes add, move and remove them meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EACCES, EPERM, EROFS
from pathlib import Path

from reid_lightning.atomic import locked
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name, read_sidecar
from reid_lightning.search.gallery.vehicle_folder import (
    files_of,
    own_pictures,
    sighting_of_picture,
    vehicle_folders,
)
from reid_lightning.search.records import Sighting

LOCK = ".lock"
"""Who holds it in a gallery's folder is the only one to add, rename, move or remove sightings."""

_SETTLED = 3_000_000_000  # ns: file systems count the times of changes in steps of up to two seconds


class Locations:
    """The folders of a gallery's sightings, as they were when last looked at.

    A look lists the folders of vehicles and reads those that have changed since. What was seen and is still there is
    believed without another look. At 10,000 vehicles a look takes 0.08 s of a core.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, tuple[tuple[int, int] | None, list[str]]] = {}  # vehicle -> state, sightings
        self._where: dict[str, str] = {}  # sighting -> vehicle
        self._pictures: dict[str, dict[str, str]] = {}  # vehicle -> sighting -> a user's picture
        self._looked = False

    def known(self, sighting: str) -> str | None:
        """The folder of a sighting with a sidecar, if it was there at the last look and still is."""
        if not self._looked:
            self.look()
        vehicle = self._where.get(sighting)
        return vehicle if vehicle is not None and self._sidecar(sighting, vehicle).exists() else None

    def vehicle_of(self, sighting: str) -> str | None:
        """`known` after another look, where it has gone from where it was; one that was nowhere is still nowhere."""
        vehicle = self.known(sighting)
        if vehicle is None and sighting in self._where:
            self.look()
            vehicle = self.known(sighting)
        return vehicle

    def look(self) -> None:
        """See what has changed. While `LOCK` is held, nothing is missed."""
        changed = not self._looked
        vehicles = vehicle_folders(self._root)[0]
        for gone in self._folders.keys() - set(vehicles):
            del self._folders[gone]
            changed = True
        root = f"{self._root}{os.sep}"
        for vehicle in vehicles:
            state = _state(root + vehicle)
            if state is None or self._folders.get(vehicle, (None, []))[0] != state:
                names = (name for name in files_of(self._root / vehicle) if name.endswith(SUFFIX))
                self._folders[vehicle] = state, [name.removesuffix(SUFFIX) for name in names]
                changed = True
        if changed:
            self._where = {}
            for vehicle in vehicles:
                for sighting in self._folders[vehicle][1]:
                    self._where.setdefault(sighting, vehicle)
        self._looked = True

    def find(self, sighting: str) -> Sighting | None:
        """The sighting with a sidecar of this id, wherever it is now. ReIDError: its sidecar is damaged."""
        while is_plain_name(sighting) and (path := self._locate({sighting: None}).get(sighting)) is not None:
            try:
                return read_sidecar(path)
            except ReIDError:
                if path.exists():
                    raise
        return None

    def find_all(self, wanted: Mapping[str, str | None]) -> dict[str, Sighting | None]:
        """Those of some sightings that are there, wherever they are now; None: it is there, but damaged.

        Args:
            wanted: for each id the folder in which it was seen last: a user's own picture can be in no other.
        """
        found: dict[str, Sighting | None] = {}
        left = wanted
        while left:
            moved = {}
            for sighting, path in self._locate(left).items():
                try:
                    one = _read(path)
                    if one.id == sighting:  # else another picture has taken its name
                        found[sighting] = one
                except (ReIDError, OSError):
                    if path.exists():
                        found[sighting] = None
                    else:
                        moved[sighting] = left[sighting]
            left = moved
        return found

    def _locate(self, wanted: Mapping[str, str | None]) -> dict[str, Path]:
        """The files of those that are there. That one is nowhere is said only after a look while nobody moves any."""
        found = self._seen(wanted)
        if len(found) < len(wanted):
            with _still(self._root):
                self.look()
                found |= self._seen({one: vehicle for one, vehicle in wanted.items() if one not in found})
            missing = {one: vehicle for one, vehicle in wanted.items() if vehicle is not None and one not in found}
            for vehicle in set(missing.values()):
                self._pictures[vehicle] = self._own_pictures(vehicle)
            found |= self._seen(missing)
        return found

    def _seen(self, wanted: Mapping[str, str | None]) -> dict[str, Path]:
        found = {}
        for sighting, last in wanted.items():
            vehicle = self.known(sighting)
            name = None if last is None else self._pictures.get(last, {}).get(sighting)
            if vehicle is not None:
                found[sighting] = self._sidecar(sighting, vehicle)
            elif name is not None and (self._root / str(last) / name).is_file():
                found[sighting] = self._root / str(last) / name
        return found

    def _own_pictures(self, vehicle: str) -> dict[str, str]:
        if not is_plain_name(vehicle) or (self._root / vehicle).is_symlink():
            return {}
        return own_pictures(self._root / vehicle)

    def _sidecar(self, sighting: str, vehicle: str) -> Path:
        return self._root / vehicle / f"{sighting}{SUFFIX}"


def _read(path: Path) -> Sighting:
    return read_sidecar(path) if path.name.endswith(SUFFIX) else sighting_of_picture(path, path.read_bytes())


def _state(folder: str) -> tuple[int, int] | None:
    """Changes with what lies in a folder; None where it has changed so lately that the next change may not show."""
    now = time.time_ns()
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns) if abs(now - found.st_mtime_ns) > _SETTLED else None


@contextmanager
def _still(root: Path) -> Iterator[None]:
    """Nobody moves anything meanwhile; nobody is asked where there is nothing, or where it cannot be written."""
    with ExitStack() as stack:
        if root.is_dir():
            try:
                stack.enter_context(locked(root / LOCK))
            except ReIDError as error:
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in (EACCES, EPERM, EROFS):
                    raise
        yield
