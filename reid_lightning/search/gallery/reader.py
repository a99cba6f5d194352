"""What is in a gallery on disk, which is the truth: a folder for each vehicle, a JSON file and some crops a sighting.

Pictures that a user puts into a folder are sightings too.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import kind_of
from reid_lightning.search.gallery import source_marks, trash
from reid_lightning.search.gallery.crop_files import CropFiles
from reid_lightning.search.gallery.listing import (
    EVERYTHING,
    Choice,
    Page,
    Statistics,
    names_of,
    of_source,
    page_of,
    problems_of,
    statistics_of,
)
from reid_lightning.search.gallery.locations import Locations
from reid_lightning.search.gallery.sidecar import SUFFIX, is_plain_name
from reid_lightning.search.gallery.sighting_index import MANY
from reid_lightning.search.gallery.source_marks import SourceMark, read_mark
from reid_lightning.search.gallery.summary import VehicleSummary
from reid_lightning.search.gallery.trash import Removed
from reid_lightning.search.gallery.vehicle_folder import read_folder, vehicle_folders
from reid_lightning.search.plates.names import folder_name, plate_name, vehicle_name
from reid_lightning.search.records import OnProgress, Sighting, unseen
from reid_lightning.search.stores.base import INDEX_FOLDER

OnProblem = Callable[[str], None]

_logger = logging.getLogger(__name__)
ADDING = ".adding"
"""Where files wait for their names: in the gallery's own folder they would change it, and it were listed again."""
_HIDDEN = (trash.FOLDER, source_marks.FOLDER, INDEX_FOLDER, ADDING)


class GalleryReader:
    """Reads the folder `root`, which need not exist yet, while others change it.

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
        self.locations = Locations(self.root)
        self.crop_files = CropFiles(self.root)
        self._logged: set[str] = set()

    def sightings(self, *, on_problem: OnProblem | None = None) -> Iterator[Sighting]:
        """All of them, by vehicle. What is damaged raises `ReIDError`, or is reported to `on_problem` and left out.

        One that lies in two folders (a copied folder, a version that let it happen) is given once, of the first folder;
        that is reported to `on_problem`, or logged once.
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
        _report(content.problems, on_problem)
        return list(content.sightings)

    def vehicles(
        self, *, on_problem: OnProblem | None = None, on_progress: OnProgress = unseen
    ) -> list[VehicleSummary]:
        """What is registered, by name. `on_progress` is called where many sidecars have to be read for it."""
        return [one.summary for one in self.page(on_problem=on_problem, on_progress=on_progress).vehicles]

    def page(
        self,
        choice: Choice = EVERYTHING,
        *,
        start: int = 0,
        most: int | None = None,
        on_problem: OnProblem | None = None,
        on_progress: OnProgress = unseen,
    ) -> Page:
        """Some of the vehicles that fit a choice, in its order: `most` of them (None: all) from number `start` on."""
        index = self.locations.index
        index.look(MANY, on_progress=on_progress)
        _report(problems_of(index, self.root), on_problem)
        return page_of(index, choice, start=start, most=most)

    def names(self, choice: Choice = EVERYTHING) -> list[str]:
        """The names of all vehicles that fit a choice, in its order. What is damaged is left out."""
        self.locations.index.look(MANY)
        return names_of(self.locations.index, choice)

    def statistics(self, *, on_problem: OnProblem | None = None) -> Statistics:
        """Of all that is registered. What is damaged is reported to `on_problem`, if there is one, and left out."""
        self.locations.index.look(MANY)
        if on_problem is not None:
            _report(problems_of(self.locations.index, self.root), on_problem)
        return statistics_of(self.locations.index)

    def vehicle_names(self, *, on_problem: OnProblem | None = None) -> list[str]:
        """The folders of vehicles, sorted, as they lie on the disk."""
        names, problems = vehicle_folders(self.root)
        _report(problems, on_problem)
        return names

    def find(self, sighting: str) -> Sighting | None:
        """The sighting of this id, in whatever folder it is now."""
        return self.locations.find(sighting)

    def folder_of(self, vehicle: str) -> Path | None:
        """The folder of a vehicle, called by its folder's own name, else by what `vehicle_name` makes into it
        (`LS15 EBC` for `LS15EBC`), else as folders were named before, else by a short plate in groups; None: there is
        none. ReIDError: nobody can say, since the gallery cannot be read."""
        names = list(_names_of(vehicle))
        with suppress(ReIDError):
            names.append(plate_name(vehicle))
        return self._first(names)

    def place_of(self, vehicle: str) -> Path:
        """The folder into which something of a vehicle of this name goes: the one that has it, or a new one, called
        `vehicle_name`. ReIDError: it is no name, or the gallery cannot be read."""
        new = self.root / vehicle_name(vehicle)
        return self._first(_names_of(vehicle)) or new

    def _first(self, names: Iterable[str]) -> Path | None:
        folders = (self.root / name for name in names)
        return next((folder for folder in folders if _is_folder(folder)), None)

    def existing_folder(self, vehicle: str) -> Path:
        """The same; ReIDError: there is none."""
        folder = self.folder_of(vehicle)
        if folder is None:
            raise ReIDError(f"There is no vehicle {vehicle!r} in {self.root}; `list` shows those that there are.")
        return folder

    def crop_paths(self, sighting: Sighting) -> list[Path]:
        """The files of its crops; raises `ReIDError` for one that lies elsewhere or is a link."""
        return [self.crop_path(sighting.vehicle, crop.file) for crop in sighting.crops]

    def crop_path(self, vehicle: str, name: str) -> Path:
        """The file of this name in the folder of a vehicle; raises `ReIDError` for one that lies elsewhere or is a
        link."""
        path = self.root / vehicle / name
        if not is_plain_name(vehicle) or not is_plain_name(name) or path.is_symlink():
            raise ReIDError(f"{path} is no file of the vehicle's own folder; it is not read.")
        return path

    def picture_path(self, crop_id: str, *, vehicle: str | None = None) -> Path | None:
        """The file of a record, a user's own picture as well; None where it is unknown, gone or damaged.

        Cheap for thousands of records of a few vehicles: what was found is remembered, and what was not until its
        folder changes.

        Args:
            crop_id: `<sighting>-<number>`.
            vehicle: its folder, which is looked into first; without it, a user's own pictures are looked for in all.
        """
        return self.crop_files.path(crop_id, vehicle, folder=self.folder_of, located=self.locations.vehicle_of)

    def trash(self) -> list[Removed]:
        """What can be undone, the latest first."""
        return trash.entries(self.root)

    def damaged_trash(self) -> list[Path]:
        """What was deleted and nobody can say whose it is: entries of the trash with a damaged note, leftovers."""
        return trash.damaged(self.root)

    def source_done(self, fingerprint: str, camera: str) -> bool:
        """Whether a source was registered to its end for this camera."""
        mark = self.source_state(fingerprint, camera)
        return mark is not None and mark.done

    def source_state(self, fingerprint: str, camera: str) -> SourceMark | None:
        """What is remembered of a source; None: it was never begun."""
        return read_mark(self.root, fingerprint, camera)

    def sightings_of_source(self, fingerprint: str, camera: str) -> list[Sighting]:
        """Those of one source. Damaged ones are left out."""
        self.locations.index.look(MANY)
        found = self.locations.find_all(dict.fromkeys(of_source(self.locations.index, fingerprint, camera))).values()
        return [one for one in found if one is not None and (one.source, one.camera) == (fingerprint, camera)]


def _names_of(vehicle: str) -> Iterator[str]:
    """The folders that a vehicle called so may have, the likeliest first."""
    if is_plain_name(vehicle):
        yield vehicle
    with suppress(ReIDError):
        yield vehicle_name(vehicle)
        yield folder_name(vehicle)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise ReIDError(f"{path} cannot be looked at: {error.strerror or error}.") from error


def _report(problems: Sequence[str], on_problem: OnProblem | None) -> None:
    for problem in problems:
        if on_problem is None:
            raise ReIDError(problem)
        on_problem(problem)
