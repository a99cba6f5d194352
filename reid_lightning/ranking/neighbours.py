"""Nearest neighbours of all pictures among all pictures, without a matrix of all pairs.

Each block of the product is computed once and serves twice: for its rows and, transposed, for its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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

    Args:
        embeddings: (pictures, dim) in float32 or float64, the queries in front.
        squares: (pictures,) |a|^2.
        count: at most `pictures`.
        corner: (queries, pictures - queries); gets the distances between queries and gallery.
    """
    nearest = SmallestOfRows(len(embeddings), count, like=embeddings)
    farthest = torch.zeros_like(squares)
    blocks = range(0, len(embeddings), _BLOCK)
    for row in blocks:
        for column in blocks[row // _BLOCK :]:
            block = _distances(embeddings, squares, slice(row, row + _BLOCK), slice(column, column + _BLOCK))
            farthest[row : row + _BLOCK].clamp_(min=block.amax(dim=1))
            farthest[column : column + _BLOCK].clamp_(min=block.amax(dim=0))
            _fill_corner(corner, block, row=row, column=column)
            if row == column:
                block.fill_diagonal_(-torch.inf)  # in front of duplicates, and of distances that rounding made 0
            else:
                nearest.offer(block.T.contiguous(), row=column, column=row)
            nearest.offer(block, row=row, column=column)
    nearest.values[:, 0] = 0
    return Neighbours(nearest.columns, nearest.values, farthest)


def _distances(embeddings: Tensor, squares: Tensor, rows: slice, columns: slice) -> Tensor:
    block = product(-2 * embeddings[rows], embeddings[columns])
    return block.add_(squares[columns]).add_(squares[rows, None]).clamp_(min=0)


def _fill_corner(corner: Tensor, block: Tensor, *, row: int, column: int) -> None:
    """Copy what `block`, whose first entry is the pair (`row`, `column`), holds of queries (rows) and gallery."""
    queries = len(corner)
    part = block[: max(0, queries - row), max(0, queries - column) :]
    first = max(0, column - queries)
    corner[row : row + len(part), first : first + part.shape[1]] = part


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
            largest = block.topk(count, dim=1, largest=False, sorted=False).values.amax(dim=1)
            limit = limit.minimum(largest.nextafter(largest.new_tensor(torch.inf)))
        at_row, at_column = (block < limit[:, None]).nonzero(as_tuple=True)
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


def ragged(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """For runs of `lengths` (runs,) in turn: the run of every entry and its place in it, (entries,) each."""
    run = torch.repeat_interleave(lengths)
    starts = lengths.cumsum(0) - lengths
    return run, torch.arange(len(run), device=run.device) - starts[run]
