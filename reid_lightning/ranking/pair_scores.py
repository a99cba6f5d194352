"""Every pair of a query and a gallery item, as counts: exact rates over 10^9 pairs in a few MiB.

A first pass counts scores by their leading bits; a second looks into the few cells of that count that hold a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.ranking.problem import RankingProblem

# A score's cell are the sign, the exponent and the first 8 bits of the mantissa of its difference from a `centre` among
# the scores: cells are finest where the scores are, and need no bounds.
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
_TRAILING_BITS = {torch.float32: 15, torch.float64: 44}

_KEPT = 24 << 20  # scores of problems with up to so many pairs stay in memory, which saves the second matrix product
_PENDING = 1 << 18  # scores collected before equal ones are counted


class PairScores:
    """All pairs of a ranking that are not junk. Same pairs, of one vehicle, are stored; different ones are counted.

    Scores mean the same for every query (`Scores.comparable`): cosine similarities, or distances with a minus sign.
    """

    same: np.ndarray
    """(same pairs,) ascending."""
    different: int
    """How many different pairs there are."""
    same_counts: np.ndarray
    """(cells,) int64: same pairs in each cell, the cells in the order of their scores; `same_from`: in it or above."""
    different_counts: np.ndarray
    """(cells,) int64: different pairs in each cell; `different_from`: in it or above."""
    best_same: np.ndarray
    """(queries,) each query's best score among its right answers, -inf without one."""
    best_different: np.ndarray
    """(queries,) the same among wrong answers."""
    same_is_first: np.ndarray
    """(queries,) bool: the first of the ranking is a right answer; ties as in `evaluate_retrieval`."""
    centre: float
    """Zero of the cells' edges."""

    def __init__(self, problem: RankingProblem) -> None:
        queries, gallery = problem.sizes
        dtype, device = problem.scores.dtype, problem.scores.device
        self._problem = problem
        self._kept: Tensor | None = None
        if queries * gallery <= _KEPT:
            self._kept = torch.empty(queries, gallery, dtype=dtype, device=device)
        counts = torch.zeros(_number_of_cells(dtype), dtype=torch.long, device=device)
        best_same = torch.empty(queries, dtype=dtype, device=device)
        best_different = torch.empty_like(best_same)
        same_is_first = torch.empty(queries, dtype=torch.bool, device=device)
        # made once: small tensors kept between the large ones of each block would leave memory that nothing fits into
        same, found = torch.empty(problem.right_answers, dtype=dtype, device=device), 0
        for block in _blocks(problem):
            if block.start == 0:
                self.centre = _centre(block.different, similarity=problem.scores.similarity)
            counts += torch.bincount(_cells(block.different, self.centre), minlength=len(counts))
            same[found : found + len(block.same)] = block.same
            found += len(block.same)
            rows = slice(block.start, block.start + len(block.different))
            best_same[rows], best_different[rows], same_is_first[rows] = block.best()
            if self._kept is not None:
                self._kept[rows] = block.different
        self.same = np.sort(same[:found].cpu().numpy())
        self.same_counts = np.bincount(self.cells(self.same), minlength=len(counts))
        self.different_counts = counts.cpu().numpy()
        self.different_counts[self.cells(np.full(1, -np.inf, dtype=self.same.dtype))] = 0
        self.different = int(self.different_counts.sum())
        self.same_from, self.different_from = (
            one[::-1].cumsum()[::-1] for one in (self.same_counts, self.different_counts)
        )
        self.best_same, self.best_different = best_same.cpu().numpy(), best_different.cpu().numpy()
        self.same_is_first = same_is_first.cpu().numpy()

    def cells(self, scores: np.ndarray) -> np.ndarray:
        """The cell of each score."""
        return _cells(torch.from_numpy(scores), self.centre).numpy()

    def edges(self, cells: np.ndarray) -> np.ndarray:
        """The lowest score of each of `cells`, to rounding, float64."""
        dtype = self._problem.scores.dtype
        order = torch.from_numpy(cells) - _number_of_cells(dtype) // 2
        pattern = (order << _TRAILING_BITS[dtype]).to(_INTEGERS[dtype])
        pattern = torch.where(pattern < 0, pattern ^ torch.iinfo(pattern.dtype).max, pattern)
        return pattern.view(dtype).double().numpy() + self.centre

    def cell_of_rate(self, rate: float) -> int:
        """The cell of the highest score that more than a share `rate` of the different pairs reach."""
        return int((self.different_from > allowed(rate, self.different)).nonzero()[0][-1])

    def crossing_cell(self) -> int:
        """The cell within which the share of same pairs below a score reaches that of different pairs from it on."""
        missed = len(self.same) - self.same_from
        return int((missed * self.different >= self.different_from * len(self.same)).argmax()) - 1

    def different_around(self, cells: Iterable[int]) -> Ladder:
        """The different pairs whose scores lie in `cells` or in the next cell above that holds any, score by score."""
        counts = self.different_counts
        occupied = counts.nonzero()[0]
        wanted = np.zeros(len(counts), dtype=bool)
        for cell in cells:
            wanted[cell] = True
            wanted[occupied[occupied.searchsorted(cell, side="right") :][:1]] = True
        values, times = self._tally(wanted)
        cell_of = self.cells(values)
        climbed = times.cumsum() - times  # tallied pairs below each value, from which those of lower cells are to go
        first_of_cell = cell_of.searchsorted(cell_of)
        return Ladder(values, self.different_from[cell_of] - (climbed - climbed[first_of_cell]), self.different)

    def _tally(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct scores of different pairs in the `wanted` cells, ascending, and how many pairs have each."""
        size = _rows_at_a_time(self._problem)
        if self._kept is not None:
            blocks: Iterable[Tensor] = self._kept.split(size)
        else:
            blocks = (block.different for block in _blocks(self._problem))
        table = torch.from_numpy(wanted).to(self._problem.scores.device)
        values, times = np.empty(0, dtype=self.same.dtype), np.empty(0, dtype=np.int64)
        pending = np.empty(
            _PENDING + size * self._problem.sizes[1], dtype=self.same.dtype
        )  # small arrays would scatter
        filled = 0
        for scores in blocks:
            found = scores.flatten()[table[_cells(scores, self.centre)]].cpu().numpy()
            pending[filled : filled + len(found)] = found
            filled += len(found)
            if filled > _PENDING:
                values, times = _merge(values, times, pending[:filled])
                filled = 0
        return _merge(values, times, pending[:filled])


def _merge(values: np.ndarray, times: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, ascending, and how often each came: `values` as often as `times` says, and each of `more`."""
    distinct, where = np.unique(np.concatenate([values, more]), return_inverse=True)
    weights = np.concatenate([times, np.ones(len(more), dtype=np.int64)])
    return distinct, np.bincount(where, weights=weights, minlength=len(distinct)).astype(np.int64)


@dataclass(frozen=True)
class Ladder:
    """Distinct scores, ascending, and how many of `total` wrong ones score at least as much. Scores may be missing, but
    not next to a threshold that is asked for."""

    values: np.ndarray
    at_least: np.ndarray
    total: int

    @classmethod
    def of(cls, scores: np.ndarray) -> Ladder:
        """All of `scores`, in any order."""
        values, counts = np.unique(scores, return_counts=True)
        return cls(values, counts[::-1].cumsum()[::-1], len(scores))

    def threshold(self, rate: float, right: np.ndarray) -> np.floating:
        """The smallest t among the wrong and the `right` scores (ascending) that at most a share `rate` of the wrong
        ones reach. Where no score is high enough, the next number above all."""
        step = int((self.at_least > allowed(rate, self.total)).nonzero()[0][-1])
        refused = self.values[step]
        above = [*self.values[step + 1 : step + 2], *right[right.searchsorted(refused, side="right") :][:1]]
        return min(above) if above else np.nextafter(refused, refused.dtype.type(np.inf))

    def count(self, threshold: np.ndarray | np.floating) -> np.ndarray:
        """How many wrong scores are at least `threshold`, one or an array."""
        return np.append(self.at_least, 0)[self.values.searchsorted(threshold)]


def allowed(rate: float, total: int) -> int:
    """The largest number of `total` whose share is at most `rate`: rate * total, without its rounding."""
    count = round(rate * total)
    return count if count / total <= rate else count - 1


@dataclass(frozen=True)
class _Block:
    """Some queries against the whole gallery, right answers taken out of the matrices."""

    start: int
    scores: Tensor
    """(queries, gallery) as in `Chunk`, -inf for junk and right answers."""
    different: Tensor
    """(queries, gallery) the same, comparable between queries."""
    query: Tensor
    row: Tensor
    right: Tensor
    """(matches,) the query, the gallery row and the score of each right answer."""
    same: Tensor
    """(matches,) `right`, comparable between queries."""

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """(queries,) each: best right and best wrong score, comparable, and whether a right answer comes first."""
        wrong = self.scores.amax(dim=1)
        right = _largest(self.right, self.query, len(wrong))
        first = right > wrong
        for query in ((right == wrong) & ~right.isneginf()).nonzero().squeeze(1).tolist():
            tied = self.row[(self.query == query) & (self.right == right[query])]
            first[query] = tied[0] < (self.scores[query] == wrong[query]).nonzero()[0, 0]
        return _largest(self.same, self.query, len(wrong)), self.different.amax(dim=1), first


def _blocks(problem: RankingProblem) -> Iterator[_Block]:
    """The chunks of a problem cut to what processor caches hold."""
    size = _rows_at_a_time(problem)
    for chunk in problem:
        starts = range(0, len(chunk.scores), size)
        ends = torch.tensor([*starts, len(chunk.scores)], device=chunk.scores.device)
        limits = torch.searchsorted(chunk.match_query, ends).tolist()
        for start, first, last in zip(starts, limits, limits[1:], strict=False):
            scores = chunk.scores[start : start + size]
            query, row = chunk.match_query[first:last] - start, chunk.match_row[first:last]
            comparable = problem.scores.comparable(chunk.start + start, scores)
            right, same = scores[query, row], comparable[query, row]
            scores[query, row] = comparable[query, row] = -torch.inf
            yield _Block(chunk.start + start, scores, comparable, query, row, right, same)


def _rows_at_a_time(problem: RankingProblem) -> int:
    """Queries whose scores are few enough for a cache, and not fewer than there are cells to clear and to add up."""
    return max(1, 2 * _number_of_cells(problem.scores.dtype) // problem.sizes[1])


def _largest(scores: Tensor, query: Tensor, queries: int) -> Tensor:
    """(queries,) the largest of each query's scores, -inf without any."""
    return scores.new_full((queries,), -torch.inf).scatter_reduce_(0, query, scores, "amax")


def _number_of_cells(dtype: torch.dtype) -> int:
    return 1 << (8 * dtype.itemsize - _TRAILING_BITS[dtype])


def _centre(scores: Tensor, *, similarity: bool) -> float:
    """The mean of some of the scores, so rounded that a histogram's edges are edges of cells."""
    finite = scores[~scores.isneginf()].double()
    mean = finite.mean().item() if len(finite) else 0.0
    step = 1 / 64 if similarity else math.ldexp(1, math.frexp(mean)[1] - 7)
    return round(mean / step) * step


def _cells(scores: Tensor, centre: float) -> Tensor:
    """The cell of every score, flattened: integers from 0 that are ordered as the scores are."""
    shifted = (scores + (0.0 - centre)).flatten()  # 0 - centre is never -0: the sum turns -0 into 0, as they are equal
    integers = torch.iinfo(_INTEGERS[scores.dtype])
    pattern = shifted.view(_INTEGERS[scores.dtype])
    order = pattern >> (integers.bits - 1)  # bit patterns of negative numbers ascend with their magnitude: turn them
    order &= integers.max
    order ^= pattern
    order >>= _TRAILING_BITS[scores.dtype]
    order += _number_of_cells(scores.dtype) // 2
    return order
