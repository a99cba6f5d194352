"""A hit: somebody on a watch list was seen. What is told of it, and to whom."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from PIL import Image

from reid_lightning.search.records import Sighting

CROP_SIDE = 640
"""Pixels of a hit's picture at most."""


@dataclass(frozen=True)
class Hit:
    """A sighting that a watch list asks for.

    `id` follows from list, what is watched and sighting: the same hit told twice has one. `score` is the confidence of
    the plate, or the similarity of the vehicle, whose closest sighting `like` is.
    """

    id: str
    list: str
    kind: Literal["plate", "vehicle"]
    watched: str
    score: float
    sighting: Sighting
    like: str | None = None


def hit_of(
    list_name: str,
    kind: Literal["plate", "vehicle"],
    watched: str,
    score: float,
    sighting: Sighting,
    like: str | None = None,
) -> Hit:
    """With its id."""
    key = "\0".join((list_name, kind, watched, sighting.id))
    identifier = hashlib.sha256(key.encode()).hexdigest()[:32]
    return Hit(identifier, list_name, kind, watched, round(float(score), 4), sighting, like)


def hit_to_json(hit: Hit, crop: Image.Image | None) -> bytes:
    """What is sent: plain values, and the best crop as JPEG in base64 (None: it was deleted meanwhile)."""
    seen = hit.sighting
    best = max(seen.crops, key=lambda one: one.quality)
    time = seen.end if seen.end is not None else seen.start
    content = {
        "id": hit.id,
        "list": hit.list,
        "kind": hit.kind,
        "watched": hit.watched,
        "score": hit.score,
        "time": None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds"),
        "start": seen.start,
        "end": seen.end,
        "camera": seen.camera,
        "sighting": seen.id,
        "vehicle": seen.vehicle,
        "like": hit.like,
        "plate": seen.plate,
        "plate_confidence": seen.plate_confidence,
        "type": seen.type,
        "confirmed": seen.confirmed,
        "box": asdict(best)["box"],
        "crop": None if crop is None else base64.b64encode(_jpeg(crop)).decode(),
    }
    return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


def _jpeg(crop: Image.Image) -> bytes:
    small, buffer = crop.copy(), io.BytesIO()
    small.thumbnail((CROP_SIDE, CROP_SIDE))
    small.convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
