"""A gallery on disk, which is the truth: one folder for each vehicle, one JSON file and some crops for each sighting.

The folder is the vehicle, so a vehicle is renamed by renaming its folder, and a sighting moves with one rename of its
sidecar: it is always in exactly one place. Pictures that a user lays into a folder are sightings too.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import kind_of
from reid_lightning.search.gallery import adding, changes, checking, marks, trash
from reid_lightning.search.gallery.changes import Restored
from reid_lightning.search.gallery.crop_files import CropFiles
from reid_lightning.search.gallery.listing import read_folder, vehicle_folders
from reid_lightning.search.gallery.marks import SourceMark, change_mark, read_mark
from reid_lightning.search.gallery.places import Places
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name
from reid_lightning.search.gallery.summary import VehicleSummary, summary_of
from reid_lightning.search.gallery.trash import Removed
from reid_lightning.search.plates.names import folder_name, plate_name
from reid_lightning.search.records import Sighting
from reid_lightning.search.stores.base import INDEX_FOLDER

OnProblem = Callable[[str], None]

_logger = logging.getLogger(__name__)
_HIDDEN = (trash.FOLDER, marks.FOLDER, INDEX_FOLDER)


class Gallery:
    """Reads and writes the folder `root`, which is made when the first sighting is added.

    Several processes may add at the same time, while others rename, merge, delete and read.

    Raises:
        ReIDError: `root` is no folder, or its own hidden folders are links, which may lead anywhere.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            what = f"the gallery {self.root} is {kind_of(self.root)}"
            raise ReIDError(f"{what}; expected a folder, or a name for a new one.")
        for name in _HIDDEN:
            if (self.root / name).is_symlink():
                raise ReIDError(f"{self.root / name} is a link, and links in a gallery are not followed. Remove it.")
        self.places = Places(self.root)
        self._crop_files = CropFiles(self.root)
        self._logged: set[str] = set()

    def add(self, sighting: Sighting, pictures: Sequence[np.ndarray]) -> bool:
        """Keep a sighting and its crops, under `folder_name(sighting.vehicle)`; the crops' files are named here.

        Args:
            sighting: an id that is known already, in whatever folder, changes nothing.
            pictures: one for each of its crops, (height, width, 3) uint8 RGB.

        Returns:
            Whether it is new.

        Raises:
            ReIDError: nothing of it was kept: it does not fit, or the disk is full or cannot be written.
        """
        is_new = adding.add(self, sighting, pictures)
        if is_new:
            self._crop_files.forget_missing()
        return is_new

    def sightings(self, *, on_problem: OnProblem | None = None) -> Iterator[Sighting]:
        """All of them, by vehicle. What is damaged raises `ReIDError`, or is told to `on_problem` and left out.

        One that lies in two folders (a copied folder, a version that let it happen) is given once, of the first folder;
        that is told to `on_problem`, or logged once.
        """
        seen: dict[str, str] = {}
        for vehicle in self.vehicle_names(on_problem=on_problem):
            for sighting in self.sightings_of(vehicle, on_problem=on_problem):
                other = seen.setdefault(sighting.id, vehicle)
                if other == vehicle:
                    yield sighting
                elif (self.root / other / f"{sighting.id}{SUFFIX}").exists():  # else it has moved since we were there
                    message = f"The sighting {sighting.id} lies in {other} and in {vehicle}; delete one of the two."
                    (on_problem or self._log_once)(message)

    def _log_once(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            _logger.warning(message)

    def sightings_of(self, vehicle: str, *, on_problem: OnProblem | None = None) -> list[Sighting]:
        """Those of one vehicle; none if there is no such vehicle."""
        folder = self.folder_of(vehicle)
        if folder is None:
            return []
        content = read_folder(folder)
        _tell(content.problems, on_problem)
        return list(content.sightings)

    def vehicles(self, *, on_problem: OnProblem | None = None) -> list[VehicleSummary]:
        """What is registered, by name."""
        found = ((name, self.sightings_of(name, on_problem=on_problem)) for name in self.vehicle_names())
        return [summary_of(name, sightings) for name, sightings in found if sightings]

    def vehicle_names(self, *, on_problem: OnProblem | None = None) -> list[str]:
        """The folders of vehicles, sorted."""
        names, problems = vehicle_folders(self.root)
        _tell(problems, on_problem)
        return names

    def find(self, sighting: str) -> Sighting | None:
        """The sighting of this id, in whatever folder it is now."""
        return self.places.find(sighting)

    def folder_of(self, vehicle: str) -> Path | None:
        """The folder of a vehicle, called by its folder's name or by what `folder_name` makes into it, or by a plate as
        people write it (`LS15 EBC`); None: there is none. ReIDError: nobody can say, since the gallery cannot be
        read."""
        names = [vehicle] if is_plain_name(vehicle) else []
        with suppress(ReIDError):
            names += [folder_name(vehicle), plate_name(vehicle)]
        folders = (self.root / name for name in names)
        return next((folder for folder in folders if _is_folder(folder)), None)

    def crop_paths(self, sighting: Sighting) -> list[Path]:
        """The files of its crops; raises `ReIDError` for one that lies elsewhere or is a link."""
        paths = []
        for crop in sighting.crops:
            path = self.root / sighting.vehicle / crop.file
            if not is_plain_name(sighting.vehicle) or not is_plain_name(crop.file) or path.is_symlink():
                raise ReIDError(f"{path} is no file of the vehicle's own folder; it is not read.")
            paths.append(path)
        return paths

    def picture_path(self, crop_id: str, *, vehicle: str | None = None) -> Path | None:
        """The file of a record, a user's own picture as well; None where it is unknown, gone or damaged.

        Cheap for thousands of records of a few vehicles: what was found, and what was not, is remembered.

        Args:
            crop_id: `<sighting>-<number>`.
            vehicle: its folder, which is looked into first; without it, a user's own pictures are looked for in all.
        """
        return self._crop_files.path(crop_id, vehicle, folder=self.folder_of, place=self.places.place)

    def rename(self, vehicle: str, new: str, *, undoable: bool = False) -> dict[str, str]:
        """Give a vehicle a new name, at once. Returns its sightings, old id -> new id: those of a user's pictures
        change with the name. `undoable`: `restore` takes it back for `trash.KEPT_SECONDS`, here and below."""
        return changes.rename(self, vehicle, new, undoable=undoable)

    def merge(self, vehicle: str, into: str, *, undoable: bool = False) -> dict[str, str]:
        """Move all sightings of a vehicle to another one, one after the other; killed, it can be called again. Returns
        them, old id -> new id."""
        return changes.merge(self, vehicle, into, undoable=undoable)

    def delete(self, vehicle: str, *, undoable: bool = False) -> Removed | None:
        """Remove a vehicle with all that lies in its folder, at once. Returns what is kept of it, if it is undoable."""
        return changes.delete(self, vehicle, undoable=undoable)

    def delete_sighting(self, sighting: Sighting, *, undoable: bool = False) -> Removed | None:
        """Remove one sighting and its crops, wherever it is now; one that is gone already is no error."""
        return changes.delete_sighting(self, sighting, undoable=undoable)

    def trash(self) -> list[Removed]:
        """What can be undone, the latest first."""
        return trash.entries(self.root)

    def restore(self, which: str, *, into: str | None = None) -> Restored:
        """Take back a deletion, a merge or a new name. What was registered anew meanwhile stays as it is.

        Args:
            which: the id of an entry of `trash`, or a vehicle's name, of which the latest is taken.
            into: another name than before, or that of a vehicle that it shall be joined to.

        Raises:
            ReIDError: there is nothing of that name, or the vehicle exists again and nothing is said of it.
        """
        return changes.restore(self, which, into=into)

    def purge(self, some: Iterable[Removed]) -> None:
        """Remove entries of the trash for good. NotRemovedError: files of them could not be removed."""
        trash.remove(self.root, some)

    def damaged_trash(self) -> list[Path]:
        """What was deleted and nobody can say whose it is: entries of the trash with a damaged note, leftovers."""
        return trash.damaged(self.root)

    def purge_damaged(self) -> int:
        """Remove that for good; returns how much there was. NotRemovedError: files of it could not be removed."""
        return changes.purge_damaged(self)

    def check(self, *, on_progress: Callable[[int, int], None] | None = None) -> list[str]:
        """All that is wrong, a line each: damaged sidecars, crops that are missing or cannot be decoded, leftovers.

        Args:
            on_progress: is called for each vehicle with those that are done, and all; what it raises ends the check.
        """
        return checking.check(self, on_progress=on_progress)

    def repair(self, *, older_than: float = 3600.0) -> list[Path]:
        """Remove what killed processes have left: unfinished files, and crops whose sidecar was never written. Files
        younger than `older_than` seconds may belong to a process that is at work, and stay. Returns what it removed."""
        return checking.repair(self, older_than=older_than)

    def source_done(self, fingerprint: str, camera: str) -> bool:
        """Whether a source was registered to its end for this camera."""
        mark = self.source_state(fingerprint, camera)
        return mark is not None and mark.done

    def source_state(self, fingerprint: str, camera: str) -> SourceMark | None:
        """What is remembered of a source; None: it was never begun."""
        return read_mark(self.root, fingerprint, camera)

    def begin_source(self, fingerprint: str, camera: str, *, name: str, settings: str) -> SourceMark | None:
        """Remember that a source is being registered, and with which settings; returns what was remembered before.

        One that was begun with other settings may have left sightings that do not go with the new ones. Look at
        `source_state` and delete `sightings_of_source` before this call, and a kill in between does no harm.
        """
        begun = SourceMark(fingerprint, camera, name, done=False, settings=settings)
        return change_mark(
            self.root,
            fingerprint,
            camera,
            lambda earlier: earlier if earlier is not None and earlier.settings == settings else begun,
        )

    def sightings_of_source(self, fingerprint: str, camera: str) -> list[Sighting]:
        """Those of one source; reads all the gallery. Damaged ones are left out."""
        found = self.sightings(on_problem=lambda problem: None)
        return [one for one in found if (one.source, one.camera) == (fingerprint, camera)]

    def forget_source(self, fingerprint: str, camera: str) -> None:
        """Let a source be registered anew; one that is unknown is no error."""
        if self.root.is_dir():
            change_mark(self.root, fingerprint, camera, lambda earlier: None)

    def mark_source(self, fingerprint: str, camera: str, *, name: str, detector: str, sightings: int) -> None:
        """Remember that a source was registered to its end; `sightings` is how many it gave."""

        def done(earlier: SourceMark | None) -> SourceMark:
            settings = "" if earlier is None else earlier.settings
            return SourceMark(fingerprint, camera, name, detector, sightings, settings=settings)

        change_mark(self.root, fingerprint, camera, done)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise ReIDError(f"{path} cannot be looked at: {error.strerror or error}.") from error


def _tell(problems: Sequence[str], on_problem: OnProblem | None) -> None:
    for problem in problems:
        if on_problem is None:
            raise ReIDError(problem)
        on_problem(problem)
