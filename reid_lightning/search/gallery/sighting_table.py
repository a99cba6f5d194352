"""The index of sidecars as tables of SQLite: folders with their sums, a row a sighting, counts of all of them."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reid_lightning.search.gallery.sighting_rows import COLUMNS, DAMAGED, FolderRows, Row, file_name, text
from reid_lightning.search.gallery.summary import VehicleSummary, summary_of

VERSION = 3
"""Of these tables; an index of another one is made again."""
QUARTER = 900
"""Seconds: days of all time zones begin with a quarter of an hour, in which sightings are counted."""
VEHICLES, SIGHTINGS, CROPS, UNDATED = "vehicles", "sightings", "crops", "undated"

_EXISTING = 1e12  # seconds after 1970 that some calendar may have
_ROW = ", ".join(COLUMNS).replace("end", '"end"')
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE facts(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE folders(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  dirty INTEGER NOT NULL DEFAULT 1, version INTEGER NOT NULL DEFAULT 0,
  inode INTEGER, changed INTEGER, problems INTEGER NOT NULL DEFAULT 0, leftovers INTEGER NOT NULL DEFAULT 0,
  sightings INTEGER NOT NULL DEFAULT 0, crops INTEGER NOT NULL DEFAULT 0, cameras TEXT, types TEXT, first REAL,
  last REAL, confirmed INTEGER, cover TEXT, words TEXT);
CREATE TABLE rows(
  folder INTEGER NOT NULL, {_ROW}, step INTEGER NOT NULL, PRIMARY KEY (folder, file)) WITHOUT ROWID;
CREATE TABLE gone(sighting TEXT NOT NULL, crops INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE counts(kind TEXT, name, number INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE INDEX folders_dirty ON folders(id) WHERE dirty;
CREATE INDEX folders_odd ON folders(name) WHERE problems OR leftovers OR sightings = 0;
CREATE INDEX folders_last ON folders(last IS NULL, last DESC, name) WHERE sightings;
CREATE INDEX folders_sightings ON folders(sightings DESC, name) WHERE sightings;
CREATE INDEX rows_sighting ON rows(sighting);
CREATE INDEX rows_source ON rows(source) WHERE source != '';
CREATE INDEX folders_words ON folders(name, words, sightings);
CREATE INDEX rows_camera ON rows(camera, type, folder, start, "end", kind);
CREATE INDEX rows_type ON rows(type, folder, start, "end", kind);
CREATE INDEX rows_start ON rows(start, folder, "end", kind);
CREATE INDEX rows_step ON rows(step);
CREATE INDEX gone_step ON gone(step);
PRAGMA user_version = {VERSION};
COMMIT;
"""


def make(db: sqlite3.Connection) -> None:
    """The tables, in an empty database."""
    db.executescript(_SCHEMA)


def version_of(db: sqlite3.Connection) -> int:
    """Of its tables; 0: it has none."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    return int(found)


@contextmanager
def written(db: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def fact(db: sqlite3.Connection, name: str) -> object:
    """What is written under a name; None: nothing."""
    found = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if found is None else found[0]


def set_facts(db: sqlite3.Connection, **values: str | int | None) -> None:
    """Write them."""
    db.executemany("INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", values.items())


def rows_of(db: sqlite3.Connection, folder: int) -> dict[str, Row]:
    """Those of a folder, by their files."""
    found = db.execute(f"SELECT {_ROW} FROM rows WHERE folder = ?", (folder,))
    return {row[0]: row for row in found}


def put(db: sqlite3.Connection, folder: int, version: int, content: FolderRows | None) -> None:
    """Hold what a folder holds (None: it is gone), unless it has changed since `version` of it was taken up; to be
    called inside of `written`."""
    earlier = db.execute("SELECT version, sightings FROM folders WHERE id = ?", (folder,)).fetchone()
    if earlier is None or earlier[0] != version:
        return
    step = int(str(fact(db, "step") or 0)) + 1
    before = rows_of(db, folder)
    after = {} if content is None else content.rows
    changed = [row for file, row in after.items() if before.get(file) != row]
    gone = [row for file, row in before.items() if file not in after or after[file][2] != row[2]]
    db.executemany("DELETE FROM rows WHERE folder = ? AND file = ?", ((folder, row[0]) for row in gone))
    db.executemany(
        f"INSERT OR REPLACE INTO rows(folder, {_ROW}, step) VALUES (?{', ?' * len(COLUMNS)}, ?)",
        ((folder, *row, step) for row in changed),
    )
    if fact(db, "marks") is not None:  # somebody asks what is gone
        db.executemany("INSERT INTO gone VALUES (?, ?, ?)", ((row[2], row[13], step) for row in gone))
    sums = _counts(after)
    sums.subtract(_counts(before))
    sums[VEHICLES, ""] = int(bool(content and content.sightings)) - int(bool(earlier[1]))
    db.executemany(
        "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
        ((*key, number) for key, number in sums.items() if number),
    )
    if changed or gone:
        set_facts(db, step=step)
    if content is None:
        db.execute("DELETE FROM folders WHERE id = ?", (folder,))
    else:
        _put_sums(db, folder, content)


_SUMS = (
    "problems", "leftovers", "sightings", "crops", "cameras", "types", "first", "last", "confirmed", "cover", "words",
)  # fmt: skip


def sums_of(content: FolderRows) -> tuple[object, ...]:
    """What is kept of all of a folder, beside its rows."""
    one = summary_of(content.name, content.sightings)
    crops = [crop for sighting in content.sightings for crop in sighting.crops]
    cover = max(crops, key=lambda crop: crop.quality).file if crops else None
    return (
        int(content.problems),
        int(content.leftovers),
        *(one.sightings, one.crops, json.dumps(one.cameras), json.dumps(one.types), one.first, one.last),
        int(one.confirmed),
        None if cover is None else json.dumps(cover),
        words([content.name, *(sighting.plate or "" for sighting in content.sightings)]),
    )


def sums_in(db: sqlite3.Connection, folder: int) -> tuple[object, ...]:
    """The same as it was kept."""
    found: tuple[object, ...] = db.execute(f"SELECT {', '.join(_SUMS)} FROM folders WHERE id = ?", (folder,)).fetchone()
    return found


def _put_sums(db: sqlite3.Connection, folder: int, content: FolderRows) -> None:
    db.execute(
        "UPDATE folders SET dirty = 0, version = version + 1, inode = ?, changed = ?, "
        f"{', '.join(f'{name} = ?' for name in _SUMS)} WHERE id = ?",
        (*(content.state or (None, None)), *sums_of(content), folder),
    )


def words(names: list[str]) -> str:
    """What a search for a part of a name or plate looks through: small letters, with and without signs between."""
    small = [name.casefold() for name in names]
    return text("\n".join(dict.fromkeys(part for name in small for part in (name, bare(name)) if part)))


def bare(name: str) -> str:
    """Its letters and digits."""
    return "".join(sign for sign in name if sign.isalnum())


SUMMARY = "name, sightings, crops, cameras, types, first, last, confirmed, cover"


def summary(row: tuple[object, ...]) -> tuple[VehicleSummary, str]:
    """A vehicle of the columns SUMMARY, and the file of its best picture."""
    name, sightings, crops, cameras, types, first, last, confirmed, cover = row
    one = VehicleSummary(
        str(name),
        sightings=int(str(sightings)),
        crops=int(str(crops)),
        cameras=tuple(json.loads(str(cameras))),
        types=tuple(json.loads(str(types))),
        first=None if first is None else float(str(first)),
        last=None if last is None else float(str(last)),
        confirmed=bool(confirmed),
    )
    return one, file_name(str(cover))


def _counts(rows: Mapping[str, Row]) -> Counter[tuple[str, str | int]]:
    """What some rows add to the counts."""
    found: Counter[tuple[str, str | int]] = Counter()
    for row in rows.values():
        camera, kind, start, crops = row[6], row[7], row[10], row[13]
        if row[1] == DAMAGED:
            continue
        found[SIGHTINGS, ""] += 1
        found[CROPS, ""] += int(crops or 0)
        found["camera", str(camera)] += 1
        found["type", str(kind)] += 1
        if start is not None and abs(float(start)) < _EXISTING:
            found["time", int(float(start) // QUARTER)] += 1
        else:
            found[UNDATED, ""] += 1
    return found
