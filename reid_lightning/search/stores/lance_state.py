"""What was last written to a table of LanceDB, noted outside of it: one that has lost its newest part, or has a changed
byte, is noticed before it answers.

The note is written after each commit, under the lock of the writers. A process killed between the two leaves a note
that is older than the table, which says nothing; so does a table of an earlier release, which has none. A note that
cannot be read is damage, for nobody else knows whether something is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from reid_lightning.atomic import save
from reid_lightning.regular_files import read_regular

_PARTS = ("data", "_deletions", "_indices", "_versions")
_CHANGING = "latest_version_hint.json"  # all others are written once, under names that do not come again
_PIECE = 1 << 20


@dataclass(frozen=True)
class TableState:
    """Of a table after a commit.

    Args:
        lineage: another one in each table that has been put in the place of one.
        version: its number, in the lineage.
        complete: False: something that had been written before was missing already.
        files: size and CRC-32 of each of the table's files, by its path in the table's folder.
    """

    lineage: str
    version: int
    complete: bool = True
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


UNREADABLE = TableState(lineage="", version=0, complete=False)
"""What a damaged note says."""


def note_of(uri: str, name: str) -> Path:
    """The file with the state of a table."""
    folder = Path(os.path.abspath(uri))
    return folder.with_name(f".{folder.name.lstrip('.')}.{name}.state")


class StateFile:
    """The note beside the store's folder `uri` about its table `name`; that folder may be put back from a copy, and
    the note with it would know no better."""

    def __init__(self, uri: str, name: str) -> None:
        self._table = Path(uri) / f"{name}.lance"
        self.path = note_of(uri, name)
        self._read: tuple[tuple[int, int], TableState | None] | None = None
        self._sound: set[str] = set()

    def read(self) -> TableState | None:
        """None: there is none; `UNREADABLE`: it is damaged."""
        try:
            status = self.path.stat()
        except OSError:
            return UNREADABLE if os.path.lexists(self.path) else None
        stamp = status.st_mtime_ns, status.st_ino
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, _read(self.path)
        return self._read[1]

    def write(self, state: TableState) -> None:
        """After a commit; its files are looked up. That it cannot be written is no error: it is older than the table
        then."""
        before = self.read()
        follows = before is not None and before.lineage == state.lineage and before.version < state.version
        known = before.files if before is not None and follows else {}  # else other files may have the same names
        files = {}
        for name in _files(self._table):
            with suppress(OSError):
                files[name] = known.get(name) or _checksum(self._table / name)
        content = json.dumps(asdict(replace(state, files=files))).encode()
        with suppress(OSError):
            self._make_way()
            save(self.path, b"%08x\n%b" % (zlib.crc32(content), content))

    def remove(self) -> None:
        """Before another table takes the place of this one, whose versions are counted from 1 again."""
        self._make_way()
        self.path.unlink(missing_ok=True)
        self._read = None
        self._sound.clear()

    def _make_way(self) -> None:
        """A folder in the place of the note would stay there."""
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)

    def changed(self, *, all_files: bool) -> list[Path]:
        """The files that are not as they were written; those that were looked at before are not read again.

        Args:
            all_files: False: only the small ones that say what belongs to which version.
        """
        state = self.read()
        found = []
        for name, written in () if state is None else state.files.items():
            path = self._table / name
            if name in self._sound or not (all_files or name.startswith("_versions")) or not os.path.lexists(path):
                continue  # what is gone was tidied away meanwhile, or will be missed by who reads it
            try:
                if _checksum(path) == written:
                    self._sound.add(name)
                    continue
            except FileNotFoundError:
                continue
            except IsADirectoryError:
                pass
            found.append(path)
        return found


def _read(path: Path) -> TableState | None:
    try:
        checksum, _, content = read_regular(path).partition(b"\n")
        values = json.loads(content) if int(checksum, 16) == zlib.crc32(content) else {}
        state = TableState(**{**values, "files": {name: _pair(file) for name, file in values["files"].items()}})
    except FileNotFoundError:  # removed since it was looked for
        return None
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return UNREADABLE
    kinds = type(state.lineage), type(state.version), type(state.complete)
    return state if kinds == (str, int, bool) else UNREADABLE


def _pair(numbers: list[int]) -> tuple[int, int]:
    size, checksum = numbers
    return size, checksum


def _files(table: Path) -> Iterator[str]:
    for part in _PARTS:
        for folder, _, names in os.walk(table / part):
            for name in names:
                if name != _CHANGING:
                    yield os.path.relpath(os.path.join(folder, name), table)


def _checksum(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
            size += len(piece)
    return size, checksum
