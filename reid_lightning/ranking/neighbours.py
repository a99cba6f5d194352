"""Nearest neighbours of all pictures among all pictures, without a matrix of all pairs.

Each block of the product is computed once and serves twice: for its rows and, transposed, for its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lightning.ranking.equal_rows import EqualRows
from reid_lightning.ranking.precision import product

_BLOCK = 1024  # pictures on each side of a block: 4 MiB of float32, and large enough for the product's full speed


@dataclass(frozen=True)
class Neighbours:
    """The nearest pictures of every picture. Distances are squared Euclidean ones."""

    rows: Tensor
    """(pictures, count) int64, nearest first; a picture is its own nearest, and of equals the lower row goes first."""
    distances: Tensor
    """(pictures, count), 0 in front."""
    farthest: Tensor
    """(pictures,) distance to the farthest picture."""


def nearest_neighbours(embeddings: Tensor, squares: Tensor, *, count: int, corner: Tensor) -> Neighbours:
    """The `count` nearest of every picture by d^2 = |a|^2 + |b|^2 - 2ab, where rounding below 0 counts as 0.

    Equal pictures are compared once, so that they are at one distance from everything.

    Args:
        embeddings: (pictures, dim) in float32 or float64, the queries in front.
        squares: (pictures,) |a|^2.
        count: at most `pictures`.
        corner: (queries, pictures - queries); gets the distances between queries and gallery.
    """
    copies = _Copies.of(embeddings)
    if copies.some:
        embeddings, squares = embeddings[copies.distinct], squares[copies.distinct]
    nearest = SmallestOfRows(len(embeddings), min(count, len(embeddings)), like=embeddings)
    farthest, to_copies = torch.zeros_like(squares), torch.zeros_like(squares)
    blocks = range(0, len(embeddings), _BLOCK)
    for row in blocks:
        for column in blocks[row // _BLOCK :]:
            block = _distances(embeddings, squares, slice(row, row + _BLOCK), slice(column, column + _BLOCK))
            if row == column:
                zero = embeddings[row : row + _BLOCK].eq(0).all(dim=1)  # has no like, by cosine
                to_copies[row : row + _BLOCK] = block.diagonal().mul_(zero)
            farthest[row : row + _BLOCK].clamp_(min=block.amax(dim=1))
            farthest[column : column + _BLOCK].clamp_(min=block.amax(dim=0))
            copies.fill_corner(corner, block, row=row, column=column)
            if row == column:
                block.fill_diagonal_(-torch.inf)  # in front of distances that rounding made 0
            else:
                copies.fill_corner(corner, block.T, row=column, column=row)
                nearest.offer(block.T, row=column, column=row)
            nearest.offer(block, row=row, column=column)
    nearest.values[:, 0] = 0
    return copies.expand(Neighbours(nearest.columns, nearest.values, farthest), to_copies, count)


def _distances(embeddings: Tensor, squares: Tensor, rows: slice, columns: slice) -> Tensor:
    """Of a block; of one on the diagonal BLAS computes half."""
    block = product(embeddings[rows], embeddings[columns])
    return torch.sub(squares[columns], block, alpha=2, out=block).add_(squares[rows, None]).clamp_(min=0)


@dataclass(frozen=True)
class _Copies:
    """Pictures as copies of distinct ones, which are in the order of their first copies."""

    distinct: Tensor
    """(distinct,) the first picture of each."""
    number: Tensor
    """(pictures,) which of these each picture is."""

    @classmethod
    def of(cls, embeddings: Tensor) -> _Copies:
        return cls(*EqualRows.of(embeddings).first.unique(return_inverse=True))

    @property
    def some(self) -> bool:
        """Whether any two pictures are equal."""
        return len(self.distinct) < len(self.number)

    def fill_corner(self, corner: Tensor, block: Tensor, *, row: int, column: int) -> None:
        """Copy what `block`, whose first entry is the pair (`row`, `column`) of distinct pictures, holds of queries
        (rows) and gallery."""
        if not self.some:
            first = max(len(corner) - column, 0)
            part = block[: max(len(corner) - row, 0), first:]
            start = column + first - len(corner)
            corner[row : row + len(part), start : start + part.shape[1]] = part
            return
        query, gallery = self.number[: len(corner)] - row, self.number[len(corner) :] - column
        queries = ((query >= 0) & (query < len(block))).nonzero().squeeze(1)
        others = ((gallery >= 0) & (gallery < block.shape[1])).nonzero().squeeze(1)
        if len(queries) and len(others):
            corner[queries[:, None], others] = block[query[queries]][:, gallery[others]].to(corner.dtype)

    def expand(self, found: Neighbours, to_copies: Tensor, count: int) -> Neighbours:
        """The `count` nearest of all pictures from those of the distinct ones, copies in place of what they equal; they
        are `to_copies` (distinct,) from each other."""
        if not self.some:
            return found
        sizes = torch.bincount(self.number)
        members, starts = self.number.argsort(stable=True), sizes.cumsum(0) - sizes
        sizes = sizes.clamp(max=count)
        rows, distances = [], []
        for pictures in torch.arange(len(self.number), device=self.number.device).split(_BLOCK):
            near = found.rows[self.number[pictures]]
            entry, place = ragged(sizes[near].flatten())
            owner = entry // near.shape[1]
            row = members[starts[near.flatten()[entry]] + place]
            far = found.distances[self.number[pictures]].clone()
            far[:, 0] = to_copies[self.number[pictures]]
            distance = far.flatten()[entry]
            other = row != pictures[owner]  # a picture is its own nearest, and may be one of too many copies
            row = torch.cat([pictures, row[other]])
            distance = torch.cat([torch.full_like(distance[: len(pictures)], -torch.inf), distance[other]])
            owner = torch.cat([torch.arange(len(pictures), device=owner.device), owner[other]])
            order = row.argsort(stable=True)
            for key in (distance, owner):  # the last key counts most
                order = order[key[order].argsort(stable=True)]
            row, distance = row[order], distance[order]
            lengths = torch.bincount(owner)
            first = (lengths.cumsum(0) - lengths)[:, None] + torch.arange(count, device=row.device)
            rows.append(row[first])
            distances.append(distance[first].clamp_(min=0))
        return Neighbours(torch.cat(rows), torch.cat(distances), found.farthest[self.number])


class SmallestOfRows:
    """The `count` smallest entries of every row of a matrix that comes in blocks, as a stable sort would have them.

    The blocks of a row must come in the order of their columns.
    """

    def __init__(self, rows: int, count: int, *, like: Tensor) -> None:
        self.values = like.new_full((rows, count), torch.inf)
        """(rows, count) ascending; inf where a row has had fewer entries."""
        self.columns = torch.zeros(rows, count, dtype=torch.long, device=like.device)
        """(rows, count) where they stand."""

    def offer(self, block: Tensor, *, row: int, column: int) -> None:
        """Take what is small enough from `block`, whose first entry stands at (`row`, `column`) of the matrix."""
        best, columns = (side[row : row + len(block)] for side in (self.values, self.columns))
        count = best.shape[1]
        limit = best[:, -1]
        if block.shape[1] > count and limit.isinf().any():  # nothing to compare with yet
            largest = _kth_smallest(block, count)
            limit = limit.minimum(largest.nextafter(largest.new_tensor(torch.inf)))
        at_row, at_column = entries_below(block, limit)
        if not len(at_row):
            return
        changed, counts = at_row.unique_consecutive(return_counts=True)
        owner, place = ragged(counts)
        values = best.new_full((len(changed), count + int(counts.max())), torch.inf)
        values[:, :count] = best[changed]
        values[owner, count + place] = block[at_row, at_column]
        sources = columns.new_zeros(values.shape)
        sources[:, :count] = columns[changed]
        sources[owner, count + place] = at_column + column
        values, order = values.sort(dim=1, stable=True)
        best[changed] = values[:, :count]
        columns[changed] = sources.gather(1, order[:, :count])


def _kth_smallest(block: Tensor, count: int) -> Tensor:
    """The `count`-th smallest entry of every row, (rows,)."""
    if block.device.type != "cpu":
        return block.topk(count, dim=1, largest=False, sorted=False).values.amax(dim=1)
    return torch.from_numpy(np.partition(block.contiguous().numpy(), count - 1, axis=1)[:, count - 1])


def entries_below(block: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the entries of `block` that are below the limit of their row, ascending, (entries,) each.

    Read in the order of memory, and on the CPU by numpy, which takes a quarter of torch's time."""
    turned = not block.is_contiguous()
    block, limits = (block.T, limits) if turned else (block, limits[:, None])
    if block.device.type == "cpu":
        flat = torch.from_numpy(np.flatnonzero(np.less(block.numpy(), limits.numpy())))
    else:
        flat = (block < limits).flatten().nonzero().squeeze(1)
    at_row, at_column = flat // block.shape[1], flat % block.shape[1]
    if turned:
        order = at_column.argsort(stable=True)
        at_row, at_column = at_column[order], at_row[order]
    return at_row, at_column


def ragged(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """For runs of `lengths` (runs,) in turn: the run of every entry and its place in it, (entries,) each."""
    run = repeat(torch.arange(len(lengths), device=lengths.device), lengths)
    starts = lengths.cumsum(0) - lengths
    return run, torch.arange(len(run), device=run.device).sub_(repeat(starts, lengths))


def repeat(values: Tensor, times: Tensor) -> Tensor:
    """Each of `values` (n,) as often as `times` (n,) says; on the CPU by numpy, in a seventh of torch's time."""
    if values.device.type != "cpu":
        return values.repeat_interleave(times)
    return torch.from_numpy(np.repeat(values.numpy(), times.numpy()))
