"""How badly a few embeddings explain another one: the residuals of millions of small lasso problems at once.

A general solver takes them one by one. These share their Gram matrices, and nearly all finish in two or three rounds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reid_lightning.ranking.precision import product

Solve = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`solve(dictionary (problems,), support (problems, atoms) of 0 and 1, right_side (problems, atoms))`: on the support
the weights that solve the normal equations, off it what these weights leave of the right side."""

_MATRIX_ELEMENTS = 1 << 21  # of the matrices of the problems that are solved together: 16 MiB of float64
_TABULATED = 8  # up to so many atoms the inverses of all supports are computed beforehand
_EXCHANGES = 12  # rounds; four or five do, unless atoms depend on each other
_RIDGE = 1e-9  # of the longest atom's |d|^2, added to the Gram matrix: an image may be twice in a track
_ROUGH = 1e7  # condition from which a product with an inverse needs a correction
_ROUNDING = 1e-12  # of the largest correlation


def squared_residuals(signals: Tensor, dictionaries: Tensor, *, alpha: float = 1.0) -> Tensor:
    """|y - D'w|^2 at w = argmin 0.5 |y - D'w|^2 + alpha |w|_1, for every signal y and every dictionary D.

    The problem that scikit-learn's `SparseCoder(transform_algorithm="lasso_lars", transform_alpha=alpha)` sets itself.
    Atoms enter and leave the support in blocks (Kim and Park, "Fast active-set-type algorithms for l1-regularized
    linear regression", AISTATS 2010). What this leaves open is descended atom by atom (feature-sign search: Lee et al.,
    "Efficient sparse coding algorithms", NIPS 2006), and so is everything where atoms outnumber dimensions.

    Args:
        signals: (signals, dim), finite. Computed in float64: of a signal that is an atom itself, alpha^2 / |d|^2 is
            left, which in float32 would drown in the rounding of |d|^2.
        dictionaries: (atoms, dictionaries, dim), finite.

    Returns:
        (signals, dictionaries) float64.
    """
    signals, dictionaries = signals.double(), dictionaries.double().transpose(0, 1)
    problems = max(1, _MATRIX_ELEMENTS // dictionaries.shape[1] ** 2)
    columns = []
    for few in dictionaries.split(max(1, problems // len(signals))):
        coder = _Coder(few, alpha)
        columns.append(torch.cat([coder.squared_residuals(some) for some in signals.split(problems)]))
    return torch.cat(columns, dim=1)


class _Coder:
    """Codes signals with each of `dictionaries` (dictionaries, atoms, dim)."""

    def __init__(self, dictionaries: Tensor, alpha: float) -> None:
        self._dictionaries, self._alpha = dictionaries, alpha
        self._gram = dictionaries @ dictionaries.mT
        ridge = _RIDGE * self._gram.diagonal(dim1=1, dim2=2).amax(dim=1)
        ridge = ridge.clamp(1e-12 * alpha, 1e-4 * alpha)[:, None].expand(dictionaries.shape[:2])
        stable = self._gram + torch.diag_embed(ridge)
        self._eliminate = _elimination(stable)
        self._exchange = _table(stable) if dictionaries.shape[1] <= _TABULATED else self._eliminate

    def squared_residuals(self, signals: Tensor) -> Tensor:
        """(signals, dictionaries) for signals (signals, dim)."""
        count, atoms, dim = self._dictionaries.shape
        correlations = product(signals, self._dictionaries.flatten(0, 1)).view(-1, atoms)
        dictionary = torch.arange(count, device=signals.device).repeat(len(signals))
        weights = torch.zeros_like(correlations)
        rows = torch.arange(len(weights), device=signals.device)
        if atoms <= dim:
            rows = _exchange(self._exchange, dictionary, correlations, self._alpha, out=weights)
        if len(rows):
            weights[rows] = _descend(self._eliminate, dictionary[rows], correlations[rows], self._alpha)
        weights, correlations = weights.view(-1, count, atoms), correlations.view(-1, count, atoms)
        explained = (2 * correlations - torch.einsum("sda,dab->sdb", weights, self._gram)).mul_(weights).sum(dim=2)
        return (signals.square().sum(dim=1, keepdim=True) - explained).clamp_(min=0)


def _exchange(solve: Solve, dictionary: Tensor, correlations: Tensor, alpha: float, *, out: Tensor) -> Tensor:
    """Write weights (problems, atoms) into `out`; returns the rows of the problems that remain open.

    Starts from the signs of the least-squares weights. Each round drops the atoms whose weight has the wrong sign and
    takes in those whose correlation with the rest of the signal exceeds alpha.
    """
    rows = torch.arange(len(correlations), device=correlations.device)
    largest = correlations.abs().amax(dim=1, keepdim=True)
    bound = alpha + _ROUNDING * largest
    signs = solve(dictionary, torch.ones_like(correlations), correlations).sign() * (largest > alpha)
    for _ in range(_EXCHANGES):
        support = signs.abs()
        values = solve(dictionary, support, correlations - alpha * signs)
        wrong = torch.where(support > 0, values * signs < 0, values.abs() > bound)
        still_open = wrong.any(dim=1)
        out[rows] = values * support  # of no meaning yet where still open
        signs = torch.where(wrong, values.sign() * (1 - support), signs)
        rows, dictionary, correlations, signs, bound = (
            part[still_open] for part in (rows, dictionary, correlations, signs, bound)
        )
        if len(rows) == 0:
            break
    return rows


def _descend(solve: Solve, dictionary: Tensor, correlations: Tensor, alpha: float) -> Tensor:
    """Weights (problems, atoms). The objective falls in every round: either the atom that promises most enters, or the
    weights move towards their support's solution until the first of them is 0 and leaves."""
    out = torch.zeros_like(correlations)
    rows = torch.arange(len(correlations), device=correlations.device)
    bound = alpha + _ROUNDING * correlations.abs().amax(dim=1, keepdim=True)
    weights, signs = torch.zeros_like(correlations), torch.zeros_like(correlations)
    for _ in range(50 * correlations.shape[1]):  # only rounding can make it as many: the minimum is reached by then
        support = signs.abs()
        values = solve(dictionary, support, correlations - alpha * signs)
        aim = values * support
        crossing = aim * signs < 0
        share = torch.where(crossing, weights / (weights - aim), 1.0)  # of the way at which a weight is 0
        first = share.amin(dim=1, keepdim=True)
        leaving = crossing & (share <= first)
        weights = torch.lerp(weights, aim, first).masked_fill_(leaving, 0)
        signs = signs.masked_fill(leaving, 0)
        excess, atom = ((values.abs() - bound) * (1 - support)).max(dim=1, keepdim=True)
        entering = (excess > 0) & ~crossing.any(dim=1, keepdim=True)
        signs.scatter_add_(1, atom, values.gather(1, atom).sign() * entering)
        out[rows] = weights
        still_open = (crossing | entering).any(dim=1)
        rows, dictionary, correlations, bound, weights, signs = (
            part[still_open] for part in (rows, dictionary, correlations, bound, weights, signs)
        )
        if len(rows) == 0:
            break
    return out


def _table(gram: Tensor) -> Solve:
    """Solutions as products with matrices made beforehand, for every dictionary and each of the 2^atoms supports."""
    atoms = gram.shape[1]
    powers = 2 ** torch.arange(atoms, device=gram.device)
    on = (torch.arange(2**atoms, device=gram.device)[:, None] // powers % 2).to(gram)
    both, off = on[:, :, None] * on[:, None], torch.diag_embed(1 - on)
    inverse = torch.linalg.inv(gram[:, None] * both + off) * both
    matrices = (inverse + off - off @ gram[:, None] @ inverse).flatten(0, 1)
    rough = bool((inverse.abs().amax(dim=(1, 2, 3)) * gram.abs().amax(dim=(1, 2)) > _ROUGH).any())

    def solve(dictionary: Tensor, support: Tensor, right_side: Tensor) -> Tensor:
        matrix = matrices[dictionary * 2**atoms + (support @ powers.to(gram)).long()]
        values = torch.bmm(matrix, right_side[:, :, None])
        if rough:
            weights = values * support[:, :, None]
            rest = right_side[:, :, None] - torch.bmm(gram[dictionary], weights)
            values += torch.bmm(matrix, rest * support[:, :, None])
        return values.squeeze(2)

    return solve


def _elimination(gram: Tensor) -> Solve:
    """Each problem's own equations, of any number of atoms."""

    def solve(dictionary: Tensor, support: Tensor, right_side: Tensor) -> Tensor:
        size = max(1, int(support.sum(dim=1).max()))
        atoms = support.argsort(dim=1, descending=True, stable=True)[:, :size]
        on = support.gather(1, atoms)
        matrix = gram[dictionary[:, None, None], atoms[:, :, None], atoms[:, None]] * on[:, :, None] * on[:, None]
        found = torch.linalg.solve(matrix + torch.diag_embed(1 - on), right_side.gather(1, atoms) * on)
        weights = torch.zeros_like(right_side).scatter_(1, atoms, found)
        rest = right_side - torch.bmm(gram[dictionary], weights[:, :, None]).squeeze(2)
        return torch.where(support > 0, weights, rest)

    return solve
