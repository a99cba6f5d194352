"""What is wrong in a gallery, and what killed processes have left in it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from reid_lightning.atomic import UNFINISHED
from reid_lightning.data.images.reading import find_bad_images
from reid_lightning.search.gallery import source_marks, trash
from reid_lightning.search.gallery.reader import ADDING, GalleryReader
from reid_lightning.search.gallery.sidecar_index_check import check_sidecar_index
from reid_lightning.search.gallery.vehicle_folder import read_folder, vehicle_folders
from reid_lightning.search.records import OnProgress, unseen

_AT_ONCE = 1024  # pictures that all cores decode together


def check(gallery: GalleryReader, *, on_progress: OnProgress = unseen) -> list[str]:
    """All that is wrong, a line each: damaged sidecars, crops that are missing or cannot be decoded, leftovers,
    and an index of sidecars that differs from them.

    Args:
        on_progress: is called for each vehicle.
    """
    problems: list[str] = []
    unreadable: list[str] = []
    crops: list[Path] = []
    vehicles = len(vehicle_folders(gallery.root)[0])
    found = groupby(gallery.sightings(on_problem=problems.append), key=lambda sighting: sighting.vehicle)
    for done, (_, sightings) in enumerate(found):
        on_progress(min(done, vehicles), vehicles)
        crops += [path for sighting in sightings for path in gallery.crop_paths(sighting)]
        if len(crops) >= _AT_ONCE:
            unreadable += _unreadable(crops)
            crops = []
    problems += unreadable + _unreadable(crops)
    on_progress(vehicles, vehicles)
    problems += [f"{path} is left over from a process that was stopped." for path in _leftovers(gallery.root)]
    return problems + check_sidecar_index(gallery.locations.index, gallery.root)


def repair(gallery: GalleryReader, *, older_than: float = 3600.0) -> list[Path]:
    """Remove what killed processes have left: unfinished files, and crops whose sidecar was never written. Files
    younger than `older_than` seconds may belong to a process that is at work, and stay. Returns what it removed."""
    if not gallery.root.is_dir():
        return []
    with gallery.locations.index.changing():  # nobody is merging
        over = trash.expired(gallery.root)
        trash.remove(gallery.root, over)
        removed = [trash.folder_of(gallery.root, entry) for entry in over]
        left = _leftovers(gallery.root)
        names = vehicle_folders(gallery.root)[0]
        gallery.locations.index.note(*{path.parent.name for path in left} & set(names))
        removed += _remove(left, until=time.time() - older_than)
        for name in names:
            with suppress(OSError):
                (gallery.root / name).rmdir()  # only if it is empty
    return removed


def _unreadable(crops: Sequence[Path]) -> list[str]:
    bad = find_bad_images(crops, decode=True)
    return [f"The picture {path} cannot be read: {reason}" for path, reason in bad.items()]


def _remove(paths: Iterable[Path], *, until: float) -> list[Path]:
    removed = []
    for path in paths:
        try:
            if path.lstat().st_mtime > until:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        removed.append(path)
    return removed


def _leftovers(root: Path) -> list[Path]:
    vehicles = [root / name for name in vehicle_folders(root)[0]]
    found = [path for folder in vehicles for path in read_folder(folder).leftovers]
    for folder in [root, *vehicles, root / source_marks.FOLDER, root / ADDING]:
        if folder.is_dir():
            names = (entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
            found += [folder / name for name in names if name.startswith(".") and name.endswith(UNFINISHED)]
    return sorted([*found, *trash.damaged(root)])
