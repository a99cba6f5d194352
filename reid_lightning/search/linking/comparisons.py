"""What was compared, kept beside the gallery: a sighting that is new is compared with all, and nothing else again.

It is derived: where it is missing, damaged or of another model, all is compared anew.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reid_lightning.atomic import save
from reid_lightning.search.linking.answers import FOLDER
from reid_lightning.search.linking.appearance import Background, adjusted, background_of, compare, usual_crowd
from reid_lightning.search.linking.links import COMPARISONS
from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.records import OnProgress, unseen

_FORMAT = 1
_GROWN = 2.0  # times as many sightings as when the background was looked at: it is looked at anew


@dataclass(frozen=True)
class Comparisons:
    """Of N sightings `ids`: `pairs` (P, 2) int64 of their numbers, the smaller first, with `similarities` (P,) float32
    by looks alone and `scores` (P,) float32, the same less what strangers share; `crowds` (N, cameras).

    `model` is the fingerprint of what embedded them, `counted` of how many sightings the background is.
    """

    model: str
    ids: tuple[str, ...]
    pairs: np.ndarray
    similarities: np.ndarray
    scores: np.ndarray
    crowds: np.ndarray
    background: Background
    counted: int


def brought_up_to_date(
    earlier: Comparisons | None,
    vectors: SightingVectors,
    cameras: Sequence[str],
    *,
    model: str,
    least: float,
    on_progress: OnProgress = unseen,
) -> tuple[Comparisons, int]:
    """What was compared, with the sightings that are new and without those that are gone; and how many were new.

    Args:
        earlier: of before; None, of another model, or of less than half as many sightings: all is compared.
        vectors: of all N sightings.
        cameras: (N,) of the sightings in `vectors.ids`.
        model: the fingerprint of what embedded them.
        least: means that are less similar are not compared picture by picture.
        on_progress: is called with sightings compared, and all that are new.
    """
    names = np.array(cameras, dtype=np.str_)
    if earlier is None or earlier.model != model or len(vectors.ids) >= _GROWN * earlier.counted:
        earlier = None
        background = background_of(vectors, names)
    else:
        background = earlier.background
    place = {name: number for number, name in enumerate(background.cameras)}
    camera = np.array([place.get(name, -1) for name in cameras], np.int64)
    number = {name: row for row, name in enumerate(vectors.ids)}
    known = {} if earlier is None else {name: row for row, name in enumerate(earlier.ids) if name in number}
    new = np.array([row for row, name in enumerate(vectors.ids) if name not in known], np.int64)
    likeness = compare(vectors, camera, background, new=new, least=least, on_progress=on_progress)
    pairs, similarities, crowds = likeness.pairs, likeness.similarities, likeness.crowds
    if earlier is not None and known:
        moved = np.full(len(earlier.ids), -1, np.int64)
        moved[list(known.values())] = [number[name] for name in known]
        kept = moved[earlier.pairs]
        there = (kept >= 0).all(axis=1)
        pairs = np.concatenate([np.sort(kept[there], axis=1), pairs])
        similarities = np.concatenate([earlier.similarities[there], similarities])
        crowds[moved[moved >= 0]] = earlier.crowds[moved >= 0]
        order = np.lexsort(pairs.T[::-1])
        pairs, similarities = pairs[order], similarities[order]
    elif earlier is None:
        background = replace(background, usual_crowd=usual_crowd(crowds))
    scores = adjusted(similarities, pairs, crowds, camera, background).astype(np.float32)
    counted = len(vectors.ids) if earlier is None else earlier.counted
    made = Comparisons(model, tuple(vectors.ids), pairs, similarities, scores, crowds, background, counted)
    return made, len(new)


def keep(root: Path, made: Comparisons) -> None:
    """Write it beside the gallery `root`, whole or not at all. OSError: it cannot be written."""
    content = io.BytesIO()
    np.savez(
        content,
        format=np.array(_FORMAT),
        model=np.array(made.model),
        ids=np.array(made.ids, np.str_),
        pairs=made.pairs.astype(np.int32),
        similarities=made.similarities,
        scores=made.scores,
        crowds=made.crowds,
        cameras=np.array(made.background.cameras, np.str_),
        camera_means=made.background.camera_means,
        counts=made.background.counts,
        usual_crowd=np.array(made.background.usual_crowd),
        counted=np.array(made.counted),
    )
    save(root / FOLDER / COMPARISONS, content.getvalue())


def read(root: Path) -> Comparisons | None:
    """What was kept; None where there is none that can be used."""
    path = root / FOLDER / COMPARISONS
    if path.is_symlink() or path.parent.is_symlink():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != _FORMAT:
                return None
            background = Background(
                tuple(file["cameras"].tolist()),
                file["camera_means"].astype(np.float32),
                file["counts"].astype(np.int64),
                float(file["usual_crowd"]),
            )
            made = Comparisons(
                str(file["model"]),
                tuple(file["ids"].tolist()),
                file["pairs"].astype(np.int64),
                file["similarities"],
                file["scores"],
                file["crowds"],
                background,
                int(file["counted"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return made if _fits(made) else None


def _fits(made: Comparisons) -> bool:
    count, pairs = len(made.ids), len(made.pairs)
    shapes = made.pairs.shape, made.similarities.shape, made.scores.shape, made.crowds.shape
    return shapes == ((pairs, 2), (pairs,), (pairs,), (count, len(made.background.cameras))) and (
        pairs == 0 or bool(made.pairs.min() >= 0 and made.pairs.max() < count)
    )
