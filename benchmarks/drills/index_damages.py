"""What can happen to the files of a gallery's index, drawn by chance."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

KINDS = ("flip", "flips", "cut", "empty", "remove", "folder", "swap", "older")
PARTS = ("newest manifest", "manifest", "transaction", "data", "deletion", "vector index", "hint", "note")
WHOLE = ("table emptied", "table gone", "table a file", "table a link", "index gone", "index a file", "index put back")


def damage(root: Path, chance: random.Random) -> str:
    """Damage the index of a gallery; returns what was done."""
    table, older = root / ".index" / "vehicles.lance", root.with_name(f"{root.name}.older")
    if chance.random() < 0.2:
        what = chance.choice(WHOLE)
        place = table if what.startswith("table") else table.parent
        shutil.rmtree(place)
        if what.endswith("emptied"):
            place.mkdir()
        elif what.endswith("file"):
            place.touch()
        elif what.endswith("link"):
            place.symlink_to("/nowhere/at/all")
        elif what.endswith("back"):
            shutil.copytree(older, place)
        return what
    files = _files(table)
    part = chance.choice([name for name in PARTS if files.get(name)])
    path, kind = chance.choice(files[part]), chance.choice(KINDS)
    _DAMAGE[kind](path, chance, [other for other in files[part] if other != path], older / "vehicles.lance")
    return f"{part}: {kind}"


def _files(table: Path) -> dict[str, list[Path]]:
    manifests = sorted((table / "_versions").glob("*.manifest"), key=lambda path: int(path.stem))
    return {
        "newest manifest": manifests[:1],
        "manifest": manifests[1:],
        "transaction": sorted((table / "_transactions").glob("*")),
        "data": sorted((table / "data").glob("*")),
        "deletion": sorted((table / "_deletions").glob("*")),
        "vector index": sorted(path for path in (table / "_indices").rglob("*") if path.is_file()),
        "hint": sorted((table / "_versions").glob("*.json")),
        "note": sorted(table.parents[1].glob(".index.*.state")),
    }


def _flip(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _flips(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    for _ in range(20):
        _flip(path, chance, others, older)


def _cut(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(max(1, len(content)))])


def _swap(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    if others:
        other = chance.choice(others)
        contents = path.read_bytes(), other.read_bytes()
        other.write_bytes(contents[0])
        path.write_bytes(contents[1])
    else:
        path.unlink()


def _older(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    copies = [copy for copy in older.rglob(f"*{path.suffix}") if copy.is_file()]
    path.write_bytes(chance.choice(copies).read_bytes() if copies else b"")


def _folder(path: Path, chance: random.Random, others: list[Path], older: Path) -> None:
    path.unlink()
    path.mkdir()


_DAMAGE: dict[str, Callable[[Path, random.Random, list[Path], Path], object]] = {
    "flip": _flip,
    "flips": _flips,
    "cut": _cut,
    "empty": lambda path, *_: path.write_bytes(b""),
    "remove": lambda path, *_: path.unlink(),
    "folder": _folder,
    "swap": _swap,
    "older": _older,
}
