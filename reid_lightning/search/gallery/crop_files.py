"""From the id of a record to the file of its picture, which a search asks for with every match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name, read_sidecar
from reid_lightning.search.gallery.sighting_rows import State, state_of
from reid_lightning.search.gallery.vehicle_folder import own_pictures, vehicle_folders


class CropFiles:
    """Remembers what it has found, and what is not there for as long as its folder and the gallery's are as they were,
    for one gallery."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[tuple[str, str | None], Path] = {}
        self._missing: dict[tuple[str, str | None], tuple[State | None, ...]] = {}
        self._own: dict[Path, tuple[int, dict[str, str]]] = {}  # folder -> its time of change, sighting -> picture

    def path(
        self,
        crop_id: str,
        vehicle: str | None,
        *,
        folder: Callable[[str], Path | None],
        located: Callable[[str], str | None],
    ) -> Path | None:
        """See `GalleryReader.picture_path`; `folder` is that of a vehicle, `located` the vehicle of a sighting."""
        key = crop_id, vehicle
        known = self._found.get(key)
        if known is not None and _is_file(known):
            return known
        now = self._state(vehicle)
        if now is not None and self._missing.get(key) == now:
            return None
        sighting, number = _parts(crop_id)
        try:
            first = None if vehicle is None or not sighting else folder(vehicle)
            path = None if first is None else self._in_folder(first, sighting, number)
            if path is None and sighting:
                path = self._anywhere(sighting, number, located(sighting), with_own=vehicle is None)
        except (ReIDError, OSError, ValueError):  # damaged, or no text that a file can be called
            path = None
        if path is not None:
            self._found[key] = path
        elif now is not None:
            self._missing[key] = now
        return path

    def _state(self, vehicle: str | None) -> tuple[State | None, ...] | None:
        """Changes with what is in a vehicle's folder; None: it may change without that, or nobody can say."""
        if vehicle is None:
            return None
        try:
            (root, is_settled), (folder, is_old) = state_of(self._root), state_of(self._root / vehicle)
        except ValueError:  # no text that a folder can be called
            return None
        return (root, folder) if is_settled and (is_old or folder is None) else None

    def _in_folder(self, folder: Path, sighting: str, number: int) -> Path | None:
        sidecar = folder / f"{sighting}{SUFFIX}"
        if _is_file(sidecar):
            crops = read_sidecar(sidecar).crops
            name = crops[number].file if number < len(crops) else None
        else:
            name = self._own_pictures(folder).get(sighting) if number == 0 else None
        path = None if name is None else folder / name
        return path if path is not None and _is_file(path) else None

    def _anywhere(self, sighting: str, number: int, vehicle: str | None, *, with_own: bool) -> Path | None:
        if vehicle is not None:
            return self._in_folder(self._root / vehicle, sighting, number)
        if not with_own or number != 0:
            return None
        folders = (self._root / name for name in vehicle_folders(self._root)[0])
        found = ((folder, self._own_pictures(folder).get(sighting)) for folder in folders)
        return next((folder / name for folder, name in found if name is not None), None)

    def _own_pictures(self, folder: Path) -> dict[str, str]:
        """Pictures that a user has put into a folder, by the ids they are known under."""
        changed = folder.stat().st_mtime_ns
        if folder not in self._own or self._own[folder][0] != changed:
            self._own[folder] = changed, own_pictures(folder)
        return self._own[folder][1]


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _parts(crop_id: str) -> tuple[str, int]:
    """Sighting and number; an empty sighting where it is no id, which never leaves the folder."""
    sighting, _, digits = crop_id.rpartition("-")
    is_id = is_plain_name(sighting) and digits.isascii() and digits.isdigit() and len(digits) < 10
    return (sighting, int(digits)) if is_id and digits == str(int(digits)) else ("", 0)
