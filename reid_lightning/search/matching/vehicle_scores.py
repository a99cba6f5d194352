"""From pictures to vehicles: a vehicle is as similar to a candidate as the most similar of its pictures.

A few candidates at a time, so that the matrix of all similarities never exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.ranking.expansion import QueryExpansion
from reid_lightning.ranking.rerank import KReciprocal
from reid_lightning.ranking.scores import EmbeddingScores

_CHUNK_ELEMENTS = 1 << 22  # similarities held at a time: 16 MiB of float32


@dataclass(frozen=True)
class BestPicture:
    """A candidate and a vehicle by their rows, `picture` being the vehicle's most similar one; `cosine` is the greatest
    cosine similarity of the candidate as it came to any picture of the vehicle."""

    candidate: int
    picture: int
    score: float
    cosine: float


def best_pictures(
    query: Tensor,
    gallery: Tensor,
    vehicles: Sequence[str],
    *,
    top_k: int | None = None,
    expansion: QueryExpansion | None = None,
    rerank: KReciprocal | None = None,
) -> Iterator[BestPicture]:
    """For each row of `query` (candidates, dim) the `top_k` best vehicles (None: all), best first, equal ones by name.

    `gallery` (pictures, dim) are pictures of `vehicles` (pictures,). Of equally similar pictures the first counts.
    The score is the greatest cosine similarity, or 1 - the least re-ranked distance.
    """
    order = np.array(sorted(range(len(vehicles)), key=lambda row: vehicles[row]))  # stable
    names = [vehicles[row] for row in order]
    starts = np.array([row for row, name in enumerate(names) if row == 0 or name != names[row - 1]])
    ends = np.append(starts[1:], len(names))
    ordered = gallery if (np.diff(order) == 1).all() else gallery[torch.from_numpy(order)]
    rows = max(1, _CHUNK_ELEMENTS // len(names))
    plain = EmbeddingScores(query, ordered, block=rows)
    moved = query if expansion is None else expansion(query, ordered)
    judged = plain if moved is query else EmbeddingScores(moved, ordered, block=rows)
    distances = None if rerank is None else rerank(moved, ordered, metric="cosine").numpy()
    for first in range(0, len(query), rows):
        last = min(first + rows, len(query))
        cosines = _block(plain, first, last)
        if distances is not None:
            scores = 1 - distances[first:last]
        else:
            scores = cosines if judged is plain else _block(judged, first, last)
        of_vehicles = np.maximum.reduceat(scores, starts, axis=1)
        greatest = of_vehicles if scores is cosines else np.maximum.reduceat(cosines, starts, axis=1)
        for row, values in enumerate(of_vehicles):
            for vehicle in _best(values, top_k):
                start, end = starts[vehicle], ends[vehicle]
                place = start + int(scores[row, start:end].argmax())
                score, cosine = float(values[vehicle]), float(greatest[row, vehicle])
                yield BestPicture(first + row, int(order[place]), score, cosine)


def _block(scores: EmbeddingScores, first: int, last: int) -> np.ndarray:
    """Cosine similarities (last - first, gallery), freed of what rounding adds to 1."""
    block = torch.empty(last - first, scores.sizes[1], dtype=scores.dtype)
    return scores.block(first, last, out=block).clamp_(-1, 1).numpy()


def _best(values: np.ndarray, count: int | None) -> np.ndarray:
    """Places of the `count` greatest values, greatest first, of equals the earlier first."""
    places = np.arange(len(values))
    if count is not None and count < len(values):
        least = np.partition(values, -count)[-count]
        places = np.flatnonzero(values >= least)
    return places[np.argsort(-values[places], kind="stable")][:count]
