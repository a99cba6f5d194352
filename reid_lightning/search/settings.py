"""What a command or an application opens first: the bundle, the gallery and its vectors, times in words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from omegaconf import OmegaConf

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.matching.gallery_embeddings import known_vehicle
from reid_lightning.search.records import Filter
from reid_lightning.untrusted.names import NAME, composed, is_name
from reid_lightning.user_messages import shown


def threshold_of(min_score: float | str, embedder: Embedder) -> float:
    """The least score: a number, or for `calibrated` the bundle's own threshold. ReIDError: it has none."""
    if min_score != "calibrated":
        return float(min_score)
    if embedder.threshold is None:
        raise ReIDError(
            "min_score=calibrated: this bundle has no calibrated threshold. Put one into it: "
            "reid evaluate checkpoint=<bundle> data=<your pictures> store_threshold=true; or give a number."
        )
    return min(embedder.threshold, 1.0)  # where no score kept the rate, it lies above all of them


def seconds_since_1970(time: object, *, key: str) -> float | None:
    """A time in words of ISO 8601, such as `2026-01-31T08:00:00+01:00`; without an offset it is local time.

    Raises:
        ReIDError: it is none; `key` is what the user calls it.
    """
    if time is None:
        return None
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ReIDError(f"{key} is {time!r}; expected a time such as 2026-01-31T08:00:00+01:00 (ISO 8601).") from error


def words(value: str | int | Sequence[str | int] | None, *, key: str) -> tuple[str, ...] | None:
    """A name or a list of names, as the types of the commands' keys let them through; None stays None. ReIDError: the
    list is empty."""
    if value is None:
        return None
    names = tuple(map(str, [value] if isinstance(value, str | int) else value))
    if not names:
        raise ReIDError(f"{key} is empty; name at least one, or leave it out.")
    return names


def camera_of(name: str) -> str:
    """The name of a camera that a user has given, with composed letters. ReIDError: it is none, see `is_name`."""
    if not is_name(name):
        raise ReIDError(f"camera is {shown('camera', name)}; expected {NAME}.")
    return composed(name)


def where_of(
    gallery: GalleryReader,
    *,
    plate: str | Sequence[str] | None = None,
    cameras: str | Sequence[str] | None = None,
    types: str | Sequence[str] | None = None,
    since: object = None,
    until: object = None,
) -> Filter:
    """The filter that a user asks for.

    Raises:
        ReIDError: there is no gallery, no such vehicle, or what was given is no time.
    """
    if not gallery.root.is_dir():
        raise ReIDError(
            f"no gallery at {gallery.root}; register vehicles first: reid register source=<clip> camera=<name>."
        )
    plates = words(plate, key="plate")
    first, last = seconds_since_1970(since, key="since"), seconds_since_1970(until, key="until")
    if first is not None and last is not None and first >= last:
        raise ReIDError(
            f"since is {since} and until is {until}: no time lies between them; expected since before until."
        )
    return Filter(
        vehicles=None if plates is None else tuple(known_vehicle(gallery, one) for one in plates),
        cameras=None if cameras is None else tuple(map(composed, words(cameras, key="cameras") or ())),
        types=words(types, key="types"),
        since=first,
        until=last,
    )


def settings_of(cfg: Mapping[str, Any]) -> str:
    """A word for all settings that decide which tracks and crops a source has."""
    keys = ("detector", "tracker", "every", "pictures", "crops", "min_frames", "min_side", "min_quality")
    deciding = {key: cfg[key] for key in keys}
    if "providers" in deciding["detector"]:  # where a network runs decides no tracks
        others = [key for key in deciding["detector"] if key not in ("providers", "device")]
        deciding["detector"] = OmegaConf.masked_copy(deciding["detector"], others)
    return hashlib.sha256(repr([str(deciding[key]) for key in keys]).encode()).hexdigest()[:16]
