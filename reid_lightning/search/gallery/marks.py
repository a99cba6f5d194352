"""Which sources a gallery has registered completely, one JSON file each, so that doing it again does nothing."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.files import locked, save
from reid_lightning.search.gallery.sidecar import FORMAT, is_plain_name

FOLDER = ".sources"


@dataclass(frozen=True)
class SourceMark:
    """A source that was registered to its end for one camera; `when` in seconds since 1970."""

    source: str
    camera: str
    name: str
    detector: str
    sightings: int
    when: float


def read_marks(root: Path, source: str) -> list[SourceMark]:
    """The marks of a source, one for each camera; a damaged file counts as none: registering again doubles nothing."""
    try:
        values = json.loads(_path(root, source).read_text(encoding="utf-8"))
        return [SourceMark(**mark) for mark in values["marks"]] if values["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_mark(root: Path, source: str, camera: str, *, name: str, detector: str, sightings: int) -> None:
    """Remember a source and camera, in place of what was known of the two."""
    path = _path(root, source)
    mark = SourceMark(source, camera, name, detector, sightings, round(time.time(), 3))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent / ".lock"):
            marks = [one for one in read_marks(root, source) if one.camera != camera]
            content = {"format": FORMAT, "marks": [asdict(one) for one in [*marks, mark]]}
            save(path, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise ReIDError(f"{path} cannot be written: {error.strerror or error}.") from error


def _path(root: Path, source: str) -> Path:
    if not is_plain_name(source):
        raise ReIDError(f"the source's fingerprint is {source!r}; expected a name without a folder.")
    return root / FOLDER / f"{source}.json"
