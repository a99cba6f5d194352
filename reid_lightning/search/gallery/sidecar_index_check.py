"""Whether the index of a gallery's sidecars says what the disk says."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from reid_lightning.errors import count
from reid_lightning.search.gallery.sighting_index import MANY, SightingIndex
from reid_lightning.search.gallery.sighting_rows import DAMAGED, Row, file_name, file_state, read_rows, state_of
from reid_lightning.search.gallery.sighting_table import rows_of, sums_in, sums_of
from reid_lightning.search.gallery.vehicle_folder import vehicle_folders

_SHOWN = 3  # names
_MISSING = "not in the index of sidecars, and so in no list"
_GONE = "in the index of sidecars, but not on the disk"
_OTHER = "in the index of sidecars with other values than on the disk"
_SUMS = "counted in the index of sidecars otherwise than on the disk"


def check_sidecar_index(index: SightingIndex, root: Path) -> list[str]:
    """Every sidecar is read and compared with what lists and `find` are told, after a look at the disk as theirs.

    Returns:
        Problems, a line each; none where no index is kept.
    """
    if not index.is_kept:
        return []
    index.look(MANY)
    suspects = sorted({vehicle for vehicle, *_ in _differing(index, root, None)})
    if not suspects:
        return []
    names: defaultdict[tuple[str, bool], Counter[str]] = defaultdict(Counter)
    with index.still():  # what others were changing meanwhile is not wrong
        index.look(MANY)
        for _, words, name, is_seen in _differing(index, root, suspects):
            names[words, is_seen][name] += 1
    by_hand = f"remove {index.path}, which is made again"
    return [
        f"{_counted(found, 'vehicle' if words == _SUMS else 'sighting')} {'is' if len(found) == 1 else 'are'} {words}; "
        f"{'`sync` fixes it' if is_seen else by_hand}."
        for (words, is_seen), found in names.items()
    ]


def _counted(names: Collection[str], what: str) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{count(len(names), what)} ({shown}{', ...' if len(names) > _SHOWN else ''})"


def _differing(
    index: SightingIndex, root: Path, vehicles: Sequence[str] | None
) -> Iterator[tuple[str, str, str, bool]]:
    """For each difference: in which vehicle's folder, what, of which sighting or vehicle, and whether `sync` sees it.

    Args:
        vehicles: whose folders are compared; None: all.
    """
    if vehicles is None:
        known = index.read(lambda db: [name for (name,) in db.execute("SELECT name FROM folders")])
        vehicles = sorted({*vehicle_folders(root)[0], *known})
    for vehicle in vehicles:
        state, sums, indexed = index.read(partial(_held, vehicle=vehicle))
        content = read_rows(root, vehicle, {})
        disk = {} if content is None else content.rows
        found = [
            (words, str(row[2]))
            for words, row in _differences(indexed, disk)
            if disk.get(str(row[0]), row)[1] != DAMAGED  # which the check of the files names
        ]
        if (
            not found
            and sums is not None
            and content is not None
            and not any(row[1] == DAMAGED for row in disk.values())
        ):
            found = [] if sums == sums_of(content) else [(_SUMS, vehicle)]
        if found:
            is_seen = sums is None or _is_seen(root / vehicle, state, indexed)
            yield from ((vehicle, words, name, is_seen) for words, name in found)


def _held(db: sqlite3.Connection, vehicle: str) -> tuple[tuple[object, ...], tuple[object, ...] | None, dict[str, Row]]:
    """State of a vehicle's folder as it was read, its sums (None: it is unknown), and its rows."""
    what = "SELECT id, inode, changed FROM folders WHERE name = ?"
    folder = db.execute(what, (vehicle,)).fetchone()
    if folder is None:
        return (None, None), None, {}
    return folder[1:], sums_in(db, folder[0]), rows_of(db, folder[0])


def _differences(indexed: dict[str, Row], disk: dict[str, Row]) -> Iterator[tuple[str, Row]]:
    """But for the states of files, which change with a copy."""
    yield from ((_MISSING, row) for file, row in disk.items() if file not in indexed)
    for file, row in indexed.items():
        if file not in disk:
            yield _GONE, row
        elif (*row[:3], *row[6:]) != (*disk[file][:3], *disk[file][6:]):
            yield _OTHER, row


def _is_seen(folder: Path, state: tuple[object, ...], indexed: dict[str, Row]) -> bool:
    """Whether a look at everything sees by the times that the folder or a file in it has changed."""
    return state_of(folder)[0] != state or any(
        file_state(f"{folder}{os.sep}{file_name(file)}") != row[3:6] for file, row in indexed.items()
    )
