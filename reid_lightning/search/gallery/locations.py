"""Where each sighting is now, though other processes add, move and remove them meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name, read_sidecar
from reid_lightning.search.gallery.sighting_index import FEW, SightingIndex
from reid_lightning.search.gallery.sighting_rows import PICTURE, text
from reid_lightning.search.gallery.vehicle_folder import own_pictures, sighting_of_picture
from reid_lightning.search.records import Sighting


class Locations:
    """The folders of a gallery's sightings, as its index of sidecars knows them: what it says and is still there is
    believed without another look."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.index = SightingIndex(root)
        self._pictures: dict[str, dict[str, str]] = {}  # vehicle -> sighting -> a user's picture
        self._looked = self._looked_well = False

    def known(self, sighting: str) -> str | None:
        """The folder of a sighting with a sidecar, if it was there at the last look and still is."""
        if not self._looked:
            self.look(folders=0)
        return next((one for one in self._said(sighting) if self._sidecar(sighting, one).exists()), None)

    def vehicle_of(self, sighting: str) -> str | None:
        """`known` after another look, where it has gone from where it was; one that was nowhere is still nowhere."""
        vehicle = self.known(sighting)
        if vehicle is None and (self._said(sighting) or not self._looked_well):
            self.look()
            vehicle = self.known(sighting)
        return vehicle

    def look(self, folders: int = FEW) -> None:
        """See what has changed; while nobody is `changing` anything, nothing is missed of what anybody does with this
        program, nor of folders that were put in, taken out or renamed by hand. Of files that were, only in so many
        `folders`."""
        self.index.look(folders)
        self._looked = True
        self._looked_well |= folders > 0

    def _said(self, sighting: str) -> list[str]:
        what = "SELECT name FROM rows JOIN folders ON id = folder WHERE sighting = ? AND kind != ? ORDER BY name"
        given = text(sighting), PICTURE
        return self.index.read(lambda db: [name for (name,) in db.execute(what, given)])

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
            with self.index.still():
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
