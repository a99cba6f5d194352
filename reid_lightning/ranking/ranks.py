"""Places of the right answers in each query's ranking: all that mAP, CMC and mINP need, without ordering the gallery.

A place is a count of better pictures. Counting touches each score once or twice; ordering rows costs many times that.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reid_lightning.ranking.problem import Chunk

_SORT = 40  # sorting scores takes about as long as comparing all of them this many times,
_CALL = 20_000  # and starting a comparison as long as comparing this many


def places_of_matches(chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Places of the right answers of a chunk's queries, on the CPU.

    Ties: a gallery picture before another in the gallery ranks before it, as a stable sort would have it.

    Returns:
        places (queries, largest number of right answers) int64, from 1, ascending; the entries behind a query's last
        right answer mean nothing. And how many right answers each query has, (queries,) int64.
    """
    if chunk.scores.device.type == "cpu":
        return _by_counting(chunk)
    places, counts = _by_sorting(chunk)
    return places.cpu(), counts.cpu()


def _by_counting(chunk: Chunk) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(chunk.match_query, minlength=len(chunk.scores))
    ends = counts.cumsum(0)
    places = np.ones((len(counts), max(1, int(counts.max()))), dtype=np.int64)
    scores, rows = chunk.scores.numpy(), chunk.match_row.numpy()
    for query, (end, count) in enumerate(zip(ends.tolist(), counts.tolist(), strict=True)):
        if count:
            places[query, :count] = _places_in_row(scores[query], rows[end - count : end])
    return torch.from_numpy(places), counts


def _places_in_row(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Places, ascending, of the pictures `rows` (ascending) in the ranking of one query's `scores` (gallery,)."""
    right = scores[rows]
    candidates = scores >= right.min()  # no other picture can outrank a right answer
    if np.count_nonzero(candidates) < len(scores) // 8:
        kept = candidates.nonzero()[0]
        scores, rows = scores[kept], kept.searchsorted(rows)
    if len(rows) * (len(scores) + _CALL) < _SORT * len(scores):
        places = np.array([_place(scores, row) for row in rows.tolist()])
    else:
        ordered = np.sort(scores)
        above = ordered.searchsorted(right, side="right")
        places = len(scores) - above + 1
        for tied in (above - ordered.searchsorted(right) > 1).nonzero()[0].tolist():
            places[tied] = _place(scores, int(rows[tied]))
    places.sort()
    return places


def _place(scores: np.ndarray, row: int) -> int:
    """Earlier pictures go before `row` when they score as high, later ones only when they score higher."""
    score = scores[row]
    return 1 + int(np.count_nonzero(scores[:row] >= score)) + int(np.count_nonzero(scores[row + 1 :] > score))


def _by_sorting(chunk: Chunk) -> tuple[Tensor, Tensor]:
    """The same on any device, in few large operations."""
    scores, query, row = chunk.scores, chunk.match_query, chunk.match_row
    counts = torch.bincount(query, minlength=len(scores))
    slot = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    width = max(1, int(counts.max()))
    place_of_row = torch.empty_like(scores, dtype=torch.long)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    place_of_row.scatter_(1, order, torch.arange(1, scores.shape[1] + 1, device=order.device).expand_as(order))
    places = query.new_full((len(scores), width), scores.shape[1] + 1)
    places[query, slot] = place_of_row[query, row]
    return places.sort(dim=1).values, counts
