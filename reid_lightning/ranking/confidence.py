"""Bootstrap confidence intervals of means over queries.

A test set is a sample of vehicles: the interval says how far the mean would move with other vehicles of the same kind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import Names

_CHUNK_ELEMENTS = 1 << 20  # draws held at a time: 8 MiB


def bootstrap_intervals(
    values: Tensor, *, resamples: int = 1000, level: float = 0.95, seed: int = 0, groups: Names | None = None
) -> Tensor:
    """Percentile intervals of the means of `values` (n, k), as (k, 2) float64 on the CPU: low and high of each column.

    n rows are drawn with replacement, `resamples` times; the interval lies between the (1 - level) / 2 and the
    (1 + level) / 2 quantiles of the means of what was drawn (Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, chapter 13). All columns share the draws. The same seed gives the same interval.

    Args:
        values: finite numbers; leave the rows of queries without a right answer out.
        groups: (n,) names of what was sampled as a whole, such as the identities of the queries: the pictures of one
            vehicle fail together, and drawing them one by one makes intervals too narrow. Whole groups are drawn with
            replacement, as many as there are; a mean is the drawn sum over the drawn number of rows (the cluster
            bootstrap: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).

    One row, or one group, gives an interval without width: there is nothing to draw from.

    Raises:
        ReIDError: `values` is empty, not (n, k) or holds NaN or infinity, or another argument is out of its range.
    """
    if not isinstance(values, Tensor) or values.ndim != 2 or 0 in values.shape:
        came = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ReIDError(f"values is {came}; expected a tensor (n, k) with at least one row and column.")
    values = values.detach().to("cpu", torch.float64)
    finite = torch.isfinite(values).all(dim=1)
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise ReIDError(f"values holds NaN or infinity, first in row {row}; leave queries without a match out.")
    if resamples < 1:
        raise ReIDError(f"resamples is {resamples}; expected 1 or more.")
    if not 0 < level < 1:
        raise ReIDError(f"level is {level}; expected a share between 0 and 1, such as 0.95.")
    rows = torch.cat([values, torch.ones(len(values), 1, dtype=torch.float64)], dim=1)  # the last column counts rows
    units = rows if groups is None else _sums_of_groups(rows, groups)
    generator = torch.Generator().manual_seed(seed)
    count = len(units)
    size = max(1, _CHUNK_ELEMENTS // count)
    means = []
    for start in range(0, resamples, size):
        drawn = min(size, resamples - start)
        picks = torch.randint(count, (drawn, count), generator=generator)
        picks += torch.arange(drawn)[:, None] * count
        times_drawn = torch.bincount(picks.flatten(), minlength=drawn * count).view(drawn, count)
        sums = times_drawn.double() @ units
        means.append(sums[:, :-1] / sums[:, -1:])
    tail = (1 - level) / 2
    quantiles = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    return torch.cat(means).quantile(quantiles, dim=0).T.contiguous()


def _sums_of_groups(rows: Tensor, groups: Names) -> Tensor:
    """(groups, columns) sums of the rows of each group, in the order in which groups first appear."""
    names = groups.tolist() if isinstance(groups, Tensor) else list(groups)
    if len(names) != len(rows):
        raise ReIDError(f"groups has {len(names)} entries for {len(rows)} rows of values.")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    index = torch.tensor([numbers[name] for name in names])
    return rows.new_zeros(len(numbers), rows.shape[1]).index_add_(0, index, rows)
