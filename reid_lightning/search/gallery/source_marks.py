"""Which sources a gallery has begun and finished, one JSON file each, so that finished ones are not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reid_lightning.atomic import locked, save
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import FORMAT, is_plain_name

FOLDER = ".sources"


@dataclass(frozen=True)
class SourceMark:
    """A source that was begun for one camera with some `settings` (a text that says what would change its tracks), and
    `done` when it was registered to its end; `when` in seconds since 1970."""

    source: str
    camera: str
    name: str
    detector: str = ""
    sightings: int = 0
    when: float = 0.0
    done: bool = True
    settings: str = ""


Change = Callable[[SourceMark | None], SourceMark | None]
"""What is known of a source and camera, to what shall be known (None: nothing)."""


def read_mark(root: Path, source: str, camera: str) -> SourceMark | None:
    """What is known of a source and camera; a damaged file counts as nothing: registering again doubles nothing."""
    return next((mark for mark in _read(_path(root, source)) if mark.camera == camera), None)


def change_mark(root: Path, source: str, camera: str, change: Change) -> SourceMark | None:
    """Put what `change` gives in place of what is known, which is returned."""
    path = _path(root, source)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent / ".lock"):
            earlier = read_mark(root, source, camera)
            changed = change(earlier)
            if changed == earlier:
                return earlier
            marks = [mark for mark in _read(path) if mark.camera != camera]
            if changed is not None:
                marks.append(replace(changed, when=round(time.time(), 3)))
            if marks:
                content = {"format": FORMAT, "marks": [asdict(mark) for mark in marks]}
                save(path, (json.dumps(content, indent=1) + "\n").encode())
            else:
                path.unlink(missing_ok=True)
            return earlier
    except OSError as error:
        raise ReIDError(f"{path} cannot be written: {error.strerror or error}.") from error


def _read(path: Path) -> list[SourceMark]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return [SourceMark(**mark) for mark in values["marks"]] if values["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _path(root: Path, source: str) -> Path:
    if not is_plain_name(source):
        raise ReIDError(f"the source's fingerprint is {source!r}; expected a name without a folder.")
    return root / FOLDER / f"{source}.json"
