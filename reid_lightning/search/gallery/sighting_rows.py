"""A sighting as a row of the index of sidecars: what lists, filters and statistics need of it, and its file."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.search.gallery.sidecar import SUFFIX
from reid_lightning.search.gallery.vehicle_folder import FolderContent, is_picture, read_folder
from reid_lightning.search.records import UNKNOWN_TYPE, Crop, Sighting
from reid_lightning.user_messages import is_utf8

SETTLED = 3_000_000_000  # ns: file systems count the times of changes in steps of up to two seconds
SIDECAR, PICTURE, DAMAGED = range(3)
"""What a row is of; a damaged sidecar is known by its name, and in no list."""

COLUMNS = (
    "file", "kind", "sighting", "inode", "changed", "size", "camera", "type", "source", "plate", "start", "end",
    "confirmed", "crops", "names", "cover", "quality", "plate_confidence",
)  # fmt: skip
Row = tuple[str | int | float | None, ...]
"""The values of COLUMNS."""
State = tuple[int, int]
"""Inode and time of change of a folder."""
FileState = tuple[int, int, int]
"""Inode, time of change and size of a file."""

_NO_BOX = (0.0, 0.0, 0.0, 0.0)
_WORST = -1e300


@dataclass(frozen=True)
class FolderRows:
    """What a vehicle's folder holds; `state` is that of before it was read, None where it is too young to be relied on.
    `problems` and `leftovers`: there are some."""

    name: str
    state: State | None
    rows: dict[str, Row]
    sightings: tuple[Sighting, ...]
    problems: bool
    leftovers: bool


def state_of(path: str | Path) -> tuple[State | None, bool]:
    """Changes with what lies in a folder (None: there is none), and whether it is old enough that the next change must
    show in it."""
    now = time.time_ns()
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None, False
    if not stat.S_ISDIR(found.st_mode):
        return None, False
    return (found.st_ino & (1 << 62) - 1, found.st_mtime_ns), abs(now - found.st_mtime_ns) > SETTLED


def read_rows(root: Path, name: str, earlier: Mapping[str, Row]) -> FolderRows | None:
    """Read a vehicle's folder, but for files that are as they were in `earlier` rows; None: there is no such folder."""
    folder = root / name
    state, is_settled = state_of(folder)
    if state is None:
        return None
    known = {}
    for file, row in earlier.items():
        if row[3] is not None and _file_state(folder, file) == row[3:6]:
            known[file_name(file)] = _sighting(name, row)
    states: dict[str, FileState | None] = {}
    content = read_folder(folder, known=known, on_read=lambda path: states.update({path.name: file_state(str(path))}))
    rows = {str(row[0]): row for row in _rows(content, earlier, known, states)}
    seen = state if is_settled else None
    return FolderRows(name, seen, rows, content.sightings, bool(content.problems), bool(content.leftovers))


def file_name(column: str) -> str:
    """A file's name of its text in the index."""
    name: str = json.loads(column)
    return name


def text(value: str) -> str:
    """A text as SQLite takes it: one that is no valid text is told by its escapes."""
    return value if is_utf8(value) else json.dumps(value)


def _rows(
    content: FolderContent,
    earlier: Mapping[str, Row],
    known: Mapping[str, Sighting],
    states: Mapping[str, FileState | None],
) -> Iterable[Row]:
    for one in content.sightings:
        name = one.crops[0].file if is_picture(one) else f"{one.id}{SUFFIX}"
        file = json.dumps(name)
        yield earlier[file] if name in known else _row(file, one, states.get(name))
    for stem in content.damaged:
        values = (json.dumps(f"{stem}{SUFFIX}"), DAMAGED, text(stem))
        yield (*values, None, None, None, "", "", "", None, None, None, 0, 0, None, None, None, None)


def _row(file: str, one: Sighting, state: FileState | None) -> Row:
    best = max(one.crops, key=lambda crop: crop.quality)
    names = [crop.file for crop in one.crops]
    is_usual = names == usual_names(one.id, len(names))
    return (
        file,
        PICTURE if is_picture(one) else SIDECAR,
        text(one.id),
        *(state or (None, None, None)),
        one.camera,
        one.type,
        text(one.source),
        None if one.plate is None else text(one.plate),
        one.start,
        one.end,
        int(one.confirmed),
        len(names),
        None if is_usual else json.dumps(names),
        json.dumps(best.file),
        best.quality,
        None if one.plate is None else one.plate_confidence,
    )


def _sighting(vehicle: str, row: Row) -> Sighting:
    """What a row says of its sighting; of crops nothing but their names, and which is the best."""
    values = dict(zip(COLUMNS, row, strict=True))
    is_own = values["kind"] == PICTURE
    names = usual_names(str(values["sighting"]), int(values["crops"] or 0))
    if values["names"] is not None:
        names = json.loads(str(values["names"]))
    best, quality = file_name(str(values["cover"])), float(values["quality"] or 0.0)
    crops = [Crop(name, 0, 0.0, _NO_BOX, 1.0, quality if name == best else _WORST) for name in names]
    source = "" if is_own else str(values["source"])
    return Sighting(
        id=str(values["sighting"]),
        vehicle=vehicle,
        camera=str(values["camera"]),
        source=source,
        source_name="",
        track=0,
        type=str(values["type"]) or UNKNOWN_TYPE,
        detector="" if is_own else "-",
        crops=tuple(crops),
        start=_number(values["start"]),
        end=_number(values["end"]),
        plate=None if values["plate"] is None else str(values["plate"]),
        plate_confidence=_number(values["plate_confidence"]) or 0.0,
        confirmed=bool(values["confirmed"]),
    )


def _number(value: str | int | float | None) -> float | None:
    return None if value is None else float(value)


def usual_names(sighting: str, crops: int) -> list[str]:
    """The files of a sighting's crops, as `Gallery.add` calls them."""
    return [f"{sighting}-{number}.jpg" for number in range(crops)]


def _file_state(folder: Path, file: str) -> FileState | None:
    return file_state(f"{folder}{os.sep}{file_name(file)}")


def file_state(path: str) -> FileState | None:
    """Changes when a file is written to or replaced; None: it is gone, or so young that another change might not
    show."""
    now = time.time_ns()
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    if abs(now - found.st_mtime_ns) <= SETTLED:
        return None
    return found.st_ino & (1 << 62) - 1, found.st_mtime_ns, found.st_size
