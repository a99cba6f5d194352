"""A gallery as one zip, to keep or to carry elsewhere: `<vehicle>/<sighting>.json` with its crops beside it.

What comes out of a zip is believed as little as what comes from a network: see `archive_entries`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.atomic import replacing
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.archive_entries import MANIFEST, Entries, TooMuch, shown
from reid_lightning.search.gallery.archive_import import SightingImporter
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sidecar import LARGEST_SIDECAR, SUFFIX, to_json
from reid_lightning.search.gallery.vehicle_folder import is_picture
from reid_lightning.search.records import OnProgress, Sighting, unseen

MAX_BYTES = 1 << 34
"""Unpacked, 16 GiB: as much as is read of a zip."""

_FORMAT = 1
_KIND = "reid_lightning gallery"


@dataclass(frozen=True)
class ExportReport:
    """What is in a zip; `problems` say in a line each what was left out, and why."""

    vehicles: int
    sightings: int
    crops: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """What an import did, in sightings: `added` are new, `known` were there. `left_out` files or sightings were not
    taken; `problems` name the first thousand of them."""

    added: int
    known: int
    left_out: int
    problems: tuple[str, ...] = ()


def export_gallery(
    gallery: GalleryReader,
    file: Path,
    *,
    vehicles: Collection[str] | None = None,
    on_progress: OnProgress = unseen,
) -> ExportReport:
    """Write a zip, which appears when it is whole. Its vectors are not in it: they are made of the crops.

    Args:
        gallery: what is exported; others may change it meanwhile.
        file: the zip; one that is there is replaced.
        vehicles: only these; None: all.
        on_progress: is called for each vehicle.

    Raises:
        ReIDError: a vehicle does not exist, or the file cannot be written.
    """
    problems: list[str] = []
    if vehicles is None:
        names = gallery.vehicle_names(on_problem=problems.append)
    else:
        names = sorted({gallery.existing_folder(vehicle).name for vehicle in vehicles})
    vehicle_count = sighting_count = crop_count = 0
    seen: set[str] = set()
    try:
        with replacing(file) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            for done, name in enumerate(names):
                on_progress(done, len(names))
                found = gallery.sightings_of(name, on_problem=problems.append)
                new = [one for one in found if one.id not in seen]  # else it was moved since we were there
                written = [one for one in new if _write(archive, gallery, one, problems)]
                seen.update(one.id for one in written)
                vehicle_count += bool(written)
                sighting_count += len(written)
                crop_count += sum(len(one.crops) for one in written)
            manifest = {"format": _FORMAT, "kind": _KIND, "vehicles": vehicle_count, "sightings": sighting_count}
            archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps({**manifest, "crops": crop_count}, indent=1) + "\n")
    except OSError as error:
        raise ReIDError(f"{file} cannot be written: {error.strerror or error}. Nothing of it was kept.") from error
    on_progress(len(names), len(names))
    return ExportReport(vehicle_count, sighting_count, crop_count, tuple(problems))


def import_gallery(
    gallery: Gallery, file: Path, *, max_bytes: int = MAX_BYTES, on_progress: OnProgress = unseen
) -> ImportReport:
    """Add what a zip of `export_gallery` holds, sighting by sighting; what is known already stays as it is.

    A sighting is added whole or not at all, and stopped at any moment the import can be called again. Crops are
    encoded again, so that nothing but pixels comes in; pictures without a sidecar come as they are, since their bytes
    are their id. The vectors follow with `GalleryIndex.sync`.

    Args:
        gallery: what is added to; it is made where there is none.
        file: the zip, from anywhere.
        max_bytes: that may come out of it, all together.
        on_progress: is called for each vehicle.

    Raises:
        ReIDError: it is no zip of a gallery, or unpacks to more than `max_bytes`; or the gallery cannot be written.
    """
    with Entries(file, max_bytes=max_bytes) as entries:
        _check_manifest(entries, file)
        importer = SightingImporter(gallery, entries)
        folders = entries.folders()
        counts = {True: 0, False: 0, None: 0}
        for done, (vehicle, names) in enumerate(folders.items()):
            on_progress(done, len(folders))
            for is_new in importer.add_vehicle(vehicle, names):
                counts[is_new] += 1
        problems = entries.problems
    on_progress(len(folders), len(folders))
    return ImportReport(counts[True], counts[False], problems.count, tuple(problems.lines))


def _write(archive: zipfile.ZipFile, gallery: GalleryReader, sighting: Sighting, problems: list[str]) -> bool:
    """Everything is read before anything is written."""
    try:
        crops = {path.name: path.read_bytes() for path in gallery.crop_paths(sighting)}
    except FileNotFoundError:
        if gallery.folder_of(sighting.vehicle) is not None:
            problems.append(f"The sighting {sighting.id} of {sighting.vehicle} was moved or removed meanwhile.")
        return False
    except (ReIDError, OSError) as error:
        problems.append(f"The sighting {sighting.id} of {sighting.vehicle} is left out: {error}")
        return False
    for name, content in crops.items():
        archive.writestr(zipfile.ZipInfo(f"{sighting.vehicle}/{name}"), content)  # stored: pictures pack no further
    if not is_picture(sighting):
        info = zipfile.ZipInfo(f"{sighting.vehicle}/{sighting.id}{SUFFIX}")
        archive.writestr(info, to_json(sighting), zipfile.ZIP_DEFLATED)
    return True


def _check_manifest(entries: Entries, file: Path) -> None:
    try:
        if MANIFEST not in entries:
            raise ReIDError(f"it has no {MANIFEST}")
        values = json.loads(entries.read(MANIFEST, at_most=LARGEST_SIDECAR).decode("utf-8"))
        if not isinstance(values, dict) or values.get("kind") != _KIND:
            raise ReIDError(f"its {MANIFEST} is another program's")
        if values.get("format") != _FORMAT:
            raise ReIDError(f"its format is {shown(str(values.get('format')))}, this version reads {_FORMAT}")
    except TooMuch:
        raise
    except (ReIDError, ValueError, RecursionError) as error:
        raise ReIDError(f"{file.name} is no exported gallery: {error}. `export` makes one.") from error
