"""The JSON file beside the crops of a sighting: everything that is known of it, as plain values.

It may come from anywhere (a copied folder, an old version, a failing disk), so that every value is checked when read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from reid_lightning.errors import ReIDError, brief
from reid_lightning.search.plates.names import given_name
from reid_lightning.search.records import Crop, Sighting, box_of
from reid_lightning.user_messages import is_utf8

FORMAT = 1
SUFFIX = ".json"
LARGEST_SIDECAR = 1 << 24
"""Bytes; a sighting of a thousand crops has 200,000."""

_LARGEST_COUNT = 1 << 53
_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_TEXTS = ("id", "camera", "source", "source_name", "type", "detector")
_ALWAYS = {**dict.fromkeys(_TEXTS, str), "track": int, "plate_confidence": float, "confirmed": bool}
_OPTIONAL = {
    **{"start": float, "end": float, "plate": str},
    **{"looks_like": str, "looks_like_score": float, "near_plate": str, "near_plate_camera": str},
}
_OF_A_CROP = {"file": str, "frame": int, "seconds": float, "score": float, "quality": float}
_STORED = ("id", "camera", "type")  # in the vector stores too, which take UTF-8 alone


def to_json(sighting: Sighting) -> str:
    """The text of a sighting's sidecar; what `read_sidecar` would not read back raises `ReIDError`."""
    try:
        text = json.dumps(
            {"format": FORMAT, **asdict(sighting)}, indent=1, ensure_ascii=True, allow_nan=False, default=_plain
        )
        _sighting(json.loads(text), vehicle=sighting.vehicle)
    except (ReIDError, TypeError, ValueError) as error:
        raise ReIDError(f"The sighting {brief(sighting.id)} cannot be kept: {error}.") from error
    return text + "\n"


def _plain(value: object) -> int | float | str:
    if isinstance(value, np.generic):
        plain: int | float | str = value.item()
        return plain
    raise TypeError(f"{type(value).__name__} {brief(value)}")


def read_sidecar(path: Path) -> Sighting:
    """The sighting of a sidecar. Its vehicle is the folder, whatever name it was registered under; one that is called
    by neither its plate nor its id was named by a person, who knows that it is a vehicle.

    Raises:
        ReIDError: names the file and what is wrong with it.
    """
    try:
        if path.stat().st_size > LARGEST_SIDECAR:
            raise ReIDError(f"it has more than {LARGEST_SIDECAR:,} bytes")
        return from_json(path.read_bytes(), vehicle=path.parent.name, name=path.name)
    except OSError as error:
        raise ReIDError(f"The sidecar {path} cannot be read: {error.strerror or error}.") from error
    except ReIDError as error:
        raise ReIDError(f"The sidecar {path} is damaged: {error}. {_FIX}") from error


def from_json(content: bytes, *, vehicle: str, name: str) -> Sighting:
    """The sighting that a sidecar's bytes hold; `name` is the file's.

    Raises:
        ReIDError: says what is wrong with it, without a full stop.
    """
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8
        raise ReIDError(f"it is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise ReIDError("it holds no JSON object")
    sighting = _sighting(values, vehicle=vehicle)
    if sighting.id != name.removesuffix(SUFFIX):
        raise ReIDError(f"its id is {brief(sighting.id)}, which is not the file's name")
    return sighting


_FIX = "Restore it, or delete it and register its source again."


def is_plain_name(name: str) -> bool:
    """Whether a name stays inside its folder and is not hidden."""
    return bool(name) and not name.startswith(".") and not any(sign in name for sign in "/\\\0")


def _sighting(values: Mapping[str, Any], *, vehicle: str) -> Sighting:
    if values.get("format") != FORMAT:
        raise ReIDError(f"its format is {brief(values.get('format'))}, this version reads {FORMAT}")
    crops = values.get("crops")
    if not isinstance(crops, list) or not crops:
        raise ReIDError("crops is not a list of one crop or more")
    # sidecars of before this was kept say by which detector: only the one for motion confirmed nothing
    values = {"confirmed": values.get("detector") != "motion", **values}
    known = {name: kind for name, kind in _OPTIONAL.items() if values.get(name) is not None}
    plain = _checked(values, _ALWAYS | known)
    for name in _STORED:
        if not is_utf8(plain[name]):  # half of a pair, which JSON can hold
            raise ReIDError(f"{name} is {brief(plain[name])}, which is no valid text")
    sighting = Sighting(**plain, vehicle=vehicle, crops=tuple(_crop(crop) for crop in crops))
    named = vehicle != given_name(sighting.id, sighting.plate)
    return replace(sighting, confirmed=sighting.confirmed or named)


def _crop(values: object) -> Crop:
    if not isinstance(values, dict):
        raise ReIDError("a crop is not a JSON object")
    box = values.get("box")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise ReIDError(f"box is {brief(box)}, expected four numbers")
    plain = _checked(values, _OF_A_CROP)
    if not is_plain_name(plain["file"]):
        raise ReIDError(f"file is {brief(plain['file'])}, expected a file's name without a folder")
    return Crop(**plain, box=box_of(box))


def _checked(values: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The values of these names, each of its kind."""
    for name, kind in kinds.items():
        if not _is(values.get(name), kind):
            raise ReIDError(f"{name} is {brief(values.get(name))}, expected {_WORDS[kind]}")
    return {name: kind(values[name]) for name, kind in kinds.items()}


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return _is_number(value)
    if kind is int:
        return type(value) is int and abs(value) <= _LARGEST_COUNT
    return type(value) is kind


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not
