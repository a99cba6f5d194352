"""Tracks without a gallery joined to vehicles, such as those of a labelled data set, by their embeddings alone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.appearance import adjusted, background_of, compare, usual_crowd
from reid_lightning.search.linking.evidence import Rules
from reid_lightning.search.linking.linker import LEAST
from reid_lightning.search.linking.problem import Problem
from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.records import UNKNOWN_TYPE, VectorRecord


def link_tracks(tracks: Mapping[str, np.ndarray], cameras: Mapping[str, str], *, threshold: float) -> dict[str, str]:
    """Join tracks as `reid link` joins sightings of which neither plates nor times are known.

    Args:
        tracks: of each track, by name, the embeddings (pictures, dim); of more than 16 pictures the first ones count.
        cameras: of each track.
        threshold: the similarity from which two are likelier one vehicle.

    Returns:
        Of each track the first one, by name, of its vehicle.

    Raises:
        ReIDError: there is no track, or one without a camera.
    """
    names = sorted(tracks)
    missing = [name for name in names if name not in cameras]
    if not names or missing:
        raise ReIDError(f"{len(names)} tracks came, {len(missing)} of them without a camera; expected one for each.")
    dim = int(tracks[names[0]].shape[1])
    pieces = ((_records(name, tracks[name]), _unit(tracks[name])) for name in names)
    with tempfile.TemporaryDirectory() as folder:
        vectors = SightingVectors(pieces, wanted=names, dim=dim, folder=Path(folder))
        background = background_of(vectors, np.array([cameras[name] for name in names]))
        place = {camera: number for number, camera in enumerate(background.cameras)}
        camera = np.array([place[cameras[name]] for name in names], np.int64)
        found = compare(vectors, camera, background, new=np.arange(len(names)), least=min(LEAST, threshold))
    background = replace(background, usual_crowd=usual_crowd(found.crowds))
    scores = adjusted(found.similarities, found.pairs, found.crowds, camera, background)
    seen = [Seen(name, name, cameras[name], UNKNOWN_TYPE) for name in names]
    labels = Problem(seen, found.pairs, scores, Rules(threshold)).grouping().labels
    return {name: names[label] for name, label in zip(names, labels.tolist(), strict=True)}


def _records(name: str, rows: np.ndarray) -> list[VectorRecord]:
    return [VectorRecord(f"{name}-{number:04d}", name, name, "", "") for number in range(len(rows))]


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
