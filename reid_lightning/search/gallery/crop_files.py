"""From the id of a record to the file of its picture, which a search asks for with every match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name, read_sidecar
from reid_lightning.search.gallery.vehicle_folder import own_pictures, vehicle_folders


class CropFiles:
    """Remembers what it has found and what it has not, for one gallery."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[tuple[str, str | None], Path | None] = {}
        self._own: dict[Path, tuple[int, dict[str, str]]] = {}  # folder -> its time of change, sighting -> picture
        self._all_own: dict[str, Path] | None = None

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
        if key in self._found:
            known = self._found[key]
            if known is None or _is_file(known):
                return known
        sighting, number = _parts(crop_id)
        try:
            first = None if vehicle is None or not sighting else folder(vehicle)
            path = None if first is None else self._in_folder(first, sighting, number)
            if path is None and sighting:
                path = self._anywhere(sighting, number, located(sighting), with_own=vehicle is None)
        except (ReIDError, OSError, ValueError):  # damaged, or no text that a file can be called
            path = None
        self._found[key] = path
        return path

    def forget_missing(self) -> None:
        """Something was added."""
        self._found = {key: path for key, path in self._found.items() if path is not None}
        self._all_own = None

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
        if self._all_own is None:
            folders = [self._root / name for name in vehicle_folders(self._root)[0]]
            self._all_own = {
                one: folder / name for folder in folders for one, name in self._own_pictures(folder).items()
            }
        return self._all_own.get(sighting)

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
