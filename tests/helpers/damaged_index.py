"""Ways to damage the table of vectors below an index."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def newest(table: Path) -> Path:
    """The manifest: versions count down in the names."""
    return min((table / "_versions").glob("*.manifest"), key=lambda path: int(path.stem))


def one_of(table: Path, part: str) -> Path:
    return min(path for path in (table / part).rglob("*") if path.is_file())


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x80
    path.write_bytes(content)


def becomes(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def swap(one: Path, other: Path) -> None:
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the manifest": lambda table: flip(newest(table), -16),
    "an empty manifest": lambda table: newest(table).write_bytes(b""),
    "a cut manifest": lambda table: newest(table).write_bytes(newest(table).read_bytes()[:40]),
    "a folder for a manifest": lambda table: becomes(newest(table), Path.mkdir),
    "two manifests swapped": lambda table: swap(newest(table), max((table / "_versions").glob("*.manifest"))),
    "no versions": lambda table: shutil.rmtree(table / "_versions"),
    "a bit of the data": lambda table: flip(one_of(table, "data"), 100),
    "a cut data file": lambda table: one_of(table, "data").write_bytes(b"damaged"),
    "no data": lambda table: shutil.rmtree(table / "data"),
    "no deletions": lambda table: shutil.rmtree(table / "_deletions"),
    "a bit of a deletion": lambda table: flip(one_of(table, "_deletions"), 200),
    "an empty table": lambda table: becomes(table, Path.mkdir),
    "a file for a table": lambda table: becomes(table, Path.touch),
    "a link to nothing": lambda table: becomes(table, lambda path: path.symlink_to("/nowhere")),
    "a folder for the lock": lambda table: becomes(table.with_name(".vehicles.lock"), Path.mkdir),
    "a file for the index": lambda table: becomes(table.parent, Path.touch),
    "a link to nothing for the index": lambda table: becomes(table.parent, lambda path: path.symlink_to("/nowhere")),
}
