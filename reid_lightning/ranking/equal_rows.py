"""Embeddings that are equal, number for number, and rows of scores that are the same whoever asks for them.

A matrix product gives equal rows different last bits: how an entry is rounded depends on its place in the matrix and on
the matrix's size. So that equal embeddings tie, and one query ranks as it does among many, every query is computed in
one fixed block of rows, as the first of its equals, and every gallery row gets the score of the first of its equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

_SAMPLED = 8  # columns that nearly always tell rows apart
_ROWS = 4096  # rows that are looked at together, so that memory is bounded
_MULTIPLIER = 0x5851F42D4C957F2D  # Knuth's, of MMIX's generator
_COPIED = 1 << 22  # scores that are copied at a time

Compute = Callable[[int, int, Tensor], object]
"""`compute(start, end, out)` writes rows `start` to `end` of a matrix into `out`."""


@dataclass(frozen=True)
class EqualRows:
    """Which rows of a matrix hold the same numbers; 0 and -0 are the same."""

    first: Tensor
    """(rows,) int64: the first row that equals each."""

    @classmethod
    def of(cls, matrix: Tensor) -> EqualRows:
        """Of float32 or float64 rows (rows, dim). Rows are compared where keys of theirs agree, so the answer is exact
        and costs little where nothing is equal."""
        first = torch.arange(len(matrix), device=matrix.device)
        rows, step = first, max(1, matrix.shape[1] // _SAMPLED)
        while len(rows):  # those that share a key, then by more columns those of them that are not the same
            keys = _keys(matrix, rows, step)
            shared = _shared(keys)
            rows, keys = rows[shared], keys[shared]
            lowest = _lowest_of_equal(keys, rows)
            equal = _equal(matrix, rows, lowest)
            first[rows[equal]] = lowest[equal]
            rows, step = rows[~equal], max(1, step // 4)
        return cls(first)

    @cached_property
    def later(self) -> Tensor:
        """(n,) the rows that equal an earlier one."""
        return (self.first != torch.arange(len(self.first), device=self.first.device)).nonzero().squeeze(1)

    def copy_columns(self, scores: Tensor) -> Tensor:
        """Give columns of `scores` (any, rows), in place, the numbers of the first column whose row is equal."""
        if len(self.later):
            source = self.first[self.later]
            for some in scores.split(max(1, _COPIED // len(source))):
                some[:, self.later] = some[:, source]
        return scores

    def copy_rows(self, scores: Tensor) -> Tensor:
        """The same for rows of `scores` (rows, any)."""
        for some in self.later.split(max(1, _COPIED // scores.shape[1])):
            scores[some] = scores[self.first[some]]
        return scores


@dataclass(frozen=True)
class FixedBlocks:
    """Rows of a matrix that are too many to hold, always computed in the same blocks; equal rows are the first's.

    Args:
        equal: which of what the rows stand for are equal.
        edges: the block's first rows, ascending from 0, and the number of rows.
        compute: computes a block.
    """

    equal: EqualRows
    edges: Sequence[int]
    compute: Compute

    def write(self, start: int, end: int, *, out: Tensor) -> Tensor:
        """Rows `start` to `end`, written into `out`; quickest where both are edges."""
        inside = [pair for pair in self._blocks() if start <= pair[0] and pair[1] <= end]
        for low, high in inside:
            self.compute(low, high, out[low - start : high - start])
        wanted = self.equal.first[start:end]
        row = torch.arange(start, end, device=wanted.device)
        here = torch.zeros_like(wanted, dtype=torch.bool)
        if inside:
            here = (wanted >= inside[0][0]) & (wanted < inside[-1][1])
            moved = (here & (wanted != row)).nonzero().squeeze(1)
            for few in moved.split(max(1, _COPIED // out.shape[1])):
                out[few] = out[wanted[few] - start]
        elsewhere = (~here).nonzero().squeeze(1)
        edges = torch.tensor(self.edges, device=wanted.device)
        numbers = torch.searchsorted(edges, wanted[elsewhere], right=True) - 1
        for number in numbers.unique().tolist():
            low, high = self.edges[number], self.edges[number + 1]
            block = out.new_empty(high - low, out.shape[1])
            self.compute(low, high, block)
            rows = elsewhere[numbers == number]
            out[rows] = block[wanted[rows] - low]
        return out

    def _blocks(self) -> list[tuple[int, int]]:
        return list(zip(self.edges, self.edges[1:], strict=False))


def _keys(matrix: Tensor, rows: Tensor, step: int) -> Tensor:
    """(n,) int64 of every `step`-th number of `rows`, equal for equal rows: integers have no rounding."""
    half = 4 * matrix.dtype.itemsize
    sampled, keys = matrix[:, ::step], []
    for some in rows.split(_ROWS):
        numbers = sampled[some[0] : some[-1] + 1] if len(rows) == len(matrix) else sampled[some]
        bits = (numbers.T.contiguous() + 0.0).view(torch.int64 if half == 32 else torch.int32)  # 0 for -0 too
        bits ^= bits >> half  # small integers differ in their upper bits only
        key = torch.zeros_like(some)
        for column in bits:
            key.mul_(_MULTIPLIER).add_(column)
        keys.append(key)
    return torch.cat(keys)


def _shared(keys: Tensor) -> Tensor:
    """(n,) the places of keys that are there more than once."""
    ordered = torch.from_numpy(np.sort(keys.numpy())) if keys.device.type == "cpu" else keys.sort().values
    return torch.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]]).nonzero().squeeze(1)


def _lowest_of_equal(keys: Tensor, rows: Tensor) -> Tensor:
    """(n,) for each of `rows` (n,) the lowest that has the same key."""
    names, groups = keys.unique(return_inverse=True)
    lowest = rows.new_full((len(names),), torch.iinfo(rows.dtype).max)
    return lowest.scatter_reduce_(0, groups, rows, "amin")[groups]


def _equal(matrix: Tensor, rows: Tensor, others: Tensor) -> Tensor:
    """(n,) bool: whether row `rows[i]` equals row `others[i]`."""
    equal = rows == others
    for some in (~equal).nonzero().squeeze(1).split(_ROWS // 4):
        equal[some] = (matrix[rows[some]] == matrix[others[some]]).all(dim=1)
    return equal
