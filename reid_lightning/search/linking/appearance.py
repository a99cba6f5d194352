"""How alike two sightings look, whatever cameras took them and however common their kind is.

Of every embedding the mean of its camera is taken off, with which light, lens and view go. What two sightings then have
in common is their MCD (arXiv 1910.09458), less how alike the strangers most like either of them are: a white van, of
which there are many, must be more alike than a fire engine (cross-domain similarity local scaling; Lample et al., ICLR
2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.records import OnProgress, unseen

CROWD = 10
"""The strangers of a camera that a sighting is most like."""
POSSIBLY_ITSELF = 3
"""The most similar sightings of a camera, which may be the vehicle itself, are not counted among the strangers."""
CROWD_SHARE = 0.75
"""Of how alike strangers are, so much is taken off; chosen on drawn traffic, where .5 to 1 do nearly as well."""
NEAREST = 48
"""Neighbours of a sighting that are compared with it picture by picture."""

_FEW = 30.0  # sightings of a camera, by which its mean counts by half, and what is known of its strangers
_BLOCK = 1 << 24  # similarities held at a time
_PAIRS = 2048  # compared at a time


@dataclass(frozen=True)
class Background:
    """What is known of a gallery as a whole: `camera_means` (cameras, dim) float32 of `cameras`, as much of each as is
    taken off, how many sightings of each there are, `counts` (cameras,), and the usual likeness of strangers,
    `usual_crowd`."""

    cameras: tuple[str, ...]
    camera_means: np.ndarray
    counts: np.ndarray
    usual_crowd: float = 0.0

    def centred(self, vectors: np.ndarray, camera: np.ndarray) -> np.ndarray:
        """Vectors (N, ..., dim) of cameras (N,), by their places in `cameras` (-1: none of them), less the mean of
        their camera, of length 1; float32."""
        means = np.concatenate([self.camera_means, np.zeros_like(self.camera_means[:1])])[camera]
        taken = vectors - means.reshape(len(means), *(1,) * (vectors.ndim - 2), means.shape[-1])
        lengths: np.ndarray = np.linalg.norm(taken, axis=-1, keepdims=True)
        centred: np.ndarray = taken / np.maximum(lengths, 1e-12)
        return centred


def background_of(vectors: SightingVectors, cameras: np.ndarray) -> Background:
    """The means of all cameras; that of a camera with few sightings is drawn towards none.

    Args:
        vectors: of N sightings.
        cameras: (N,) str.
    """
    names, camera, counts = np.unique(cameras, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), vectors.means.shape[1]), np.float64)
    np.add.at(sums, camera, vectors.means)
    shares = counts / (counts + _FEW)
    means = (sums / np.maximum(counts, 1)[:, None] * shares[:, None]).astype(np.float32)
    return Background(tuple(names.tolist()), means, counts)


@dataclass(frozen=True)
class Likeness:
    """`pairs` (P, 2) int64 of sightings, the smaller number first, in ascending order; `similarities` (P,) float32: 1 -
    the mean MCD50 of both directions; `crowds` (N, cameras) float32: how alike the strangers of each camera are to each
    sighting, NaN where nobody looked."""

    pairs: np.ndarray
    similarities: np.ndarray
    crowds: np.ndarray


def compare(
    vectors: SightingVectors,
    camera: np.ndarray,
    background: Background,
    *,
    new: np.ndarray,
    least: float,
    on_progress: OnProgress = unseen,
) -> Likeness:
    """Compare new sightings with the `NEAREST` most similar of all.

    Time grows with new x all sightings (a product of matrices of their means), memory with all sightings.

    Args:
        vectors: of N sightings.
        camera: (N,) int, their places in `background.cameras`, -1 for another one.
        background: of the gallery.
        new: (M,) int, ascending, which sightings are compared.
        least: means that are less similar are no neighbours.
        on_progress: is called with new sightings compared, and all of them.
    """
    means = background.centred(vectors.means, camera)
    order = np.argsort(camera, kind="stable")
    ordered, place = means[order], np.argsort(order)
    bounds = np.searchsorted(camera[order], np.arange(len(background.cameras) + 1))
    crowds = np.full((len(means), len(background.cameras)), np.nan, np.float32)
    found: list[np.ndarray] = []
    rows = max(1, _BLOCK // max(1, len(means)))
    for start in range(0, len(new), rows):
        on_progress(start, len(new))
        some = new[start : start + rows]
        block = means[some] @ ordered.T
        block[np.arange(len(some)), place[some]] = -np.inf  # itself
        for number in range(len(background.cameras)):
            crowds[some, number] = _crowd(block[:, bounds[number] : bounds[number + 1]])
        near = _greatest(block, min(NEAREST, block.shape[1]))
        row, column = np.nonzero(np.take_along_axis(block, near, axis=1) >= least)
        one, other = some[row], order[near[row, column]]
        found.append(np.stack([np.minimum(one, other), np.maximum(one, other)], axis=1))
    on_progress(len(new), len(new))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    return Likeness(pairs, _mean_mcd50(vectors, camera, background, pairs), crowds)


def usual_crowd(crowds: np.ndarray) -> float:
    """The mean of what is known."""
    return float(np.nanmean(crowds)) if np.isfinite(crowds).any() else 0.0


def adjusted(
    similarities: np.ndarray, pairs: np.ndarray, crowds: np.ndarray, camera: np.ndarray, background: Background
) -> np.ndarray:
    """(P,) similarities on the scale of the cosine, less what strangers share, the more of it the more sightings the
    camera has; of usual kinds they stay as they are."""
    one, other = pairs[:, 0], pairs[:, 1]
    sides = np.stack([crowds[one, camera[other]], crowds[other, camera[one]]])
    sides[:, (camera[one] < 0) | (camera[other] < 0)] = np.nan
    shares = np.append(background.counts / (background.counts + _FEW), 0.0)[np.stack([camera[other], camera[one]])]
    excess = (np.where(np.isfinite(sides), sides - background.usual_crowd, 0.0) * shares).mean(axis=0)
    result: np.ndarray = similarities - CROWD_SHARE * excess
    return result


def _crowd(block: np.ndarray) -> np.ndarray:
    """The mean similarity (rows,) of the strangers most like each row; NaN where a camera has too few sightings."""
    most = min(CROWD + POSSIBLY_ITSELF, block.shape[1])
    if most <= POSSIBLY_ITSELF:
        return np.full(len(block), np.nan, np.float32)
    greatest = np.sort(-np.take_along_axis(block, _greatest(block, most), axis=1), axis=1)[:, POSSIBLY_ITSELF:]
    known = np.isfinite(greatest)
    counts = known.sum(axis=1)
    means: np.ndarray = -np.where(known, greatest, 0).sum(axis=1) / np.maximum(counts, 1)
    return np.where(counts > 0, means, np.nan)


def _greatest(block: np.ndarray, count: int) -> np.ndarray:
    """Places (rows, count) of the greatest values, in no order."""
    if count >= block.shape[1]:
        return np.broadcast_to(np.arange(block.shape[1]), block.shape)
    places: np.ndarray = np.argpartition(block, -count, axis=1)[:, -count:]
    return places


def _mean_mcd50(vectors: SightingVectors, camera: np.ndarray, background: Background, pairs: np.ndarray) -> np.ndarray:
    """(P,) float32 similarities; see `ranking.tracks.track_distances`, metric "mcd", aggregation "mean50"."""
    similarities = np.empty(len(pairs), np.float32)
    for rows in _equally_many(vectors.counts[pairs]):
        for start in range(0, len(rows), _PAIRS):
            some = rows[start : start + _PAIRS]
            one, other = (
                background.centred(vectors.pictures(pairs[some, side]), camera[pairs[some, side]]) for side in (0, 1)
            )
            cosines = one @ other.transpose(0, 2, 1)
            similarities[some] = (_closest_half(cosines.max(axis=2)) + _closest_half(cosines.max(axis=1))) / 2
    return similarities


def _closest_half(best: np.ndarray) -> np.ndarray:
    """The mean (P,) of the n // 2 + 1 greatest of (P, n)."""
    half: np.ndarray = -np.sort(-best, axis=1)[:, : best.shape[1] // 2 + 1].mean(axis=1)
    return half


def _equally_many(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of the pairs whose sightings have as many pictures, by both numbers."""
    _, kind = np.unique(counts, axis=0, return_inverse=True)
    order = np.argsort(kind, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(kind[order])) + 1) if len(order) else ()
