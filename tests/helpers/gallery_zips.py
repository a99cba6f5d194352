"""Galleries as zips, written by hand so that they can be wrong."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import gallery_files
import numpy as np
from PIL import Image

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Sighting

MANIFEST = {"format": 1, "kind": "reid_lightning gallery"}


def sighting(identifier: str = "a1", vehicle: str = "51G12345", *, crops: int = 2, **values: object) -> Sighting:
    given = {"start": 1e9, "end": 1e9 + 4, "plate": "51G12345", "plate_confidence": 0.9, **values}
    return gallery_files.sighting(identifier, vehicle, crops=crops, **given)


def pictures(count: int = 2, *, level: int = 90) -> list[np.ndarray]:
    return [np.full((24, 32, 3), level + 40 * k, np.uint8) for k in range(count)]


def jpeg(level: int = 90, size: tuple[int, int] = (32, 24), kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 20, 60)).save(buffer, kind)
    return buffer.getvalue()


def sidecar(identifier: str = "a1", vehicle: str = "V1", **changes: object) -> bytes:
    one = sighting(identifier, vehicle, crops=1)
    one = replace(one, crops=(replace(one.crops[0], file=f"{identifier}-0.jpg"),))
    return json.dumps({"format": 1, **asdict(one), **changes}).encode()


def zipped(
    path: Path, entries: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], **manifest: object
) -> Path:
    pairs = list(entries.items()) if isinstance(entries, dict) else entries
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in [("manifest.json", json.dumps({**MANIFEST, **manifest})), *pairs]:
            archive.writestr(name, content)
    return path


def files_of(root: Path) -> dict[str, bytes]:
    found = (
        path for path in root.rglob("*") if path.is_file() and path.name != ".lock" and path.parent.name != ".index"
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def filled(root: Path) -> Gallery:
    """A gallery of three vehicles, one of them a user's picture."""
    made = Gallery(root)
    made.add(sighting("a1"), pictures())
    made.add(sighting("a2", camera='<img src=x onerror="alert(1)">', start=None, end=None), pictures(level=30))
    made.add(sighting("b1", "ŽLUŤ 1", crops=1), pictures(1))
    (made.root / "my van").mkdir()
    (made.root / "my van" / "front.PNG").write_bytes(jpeg(kind="PNG"))
    return made
