"""Moving a trained model to pictures of which nobody says whom they show: centred, whitened, by tracks, by links."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models.reid_model import ReIDModel
from reid_lightning.models.whitening import Scatter, directions, scatter, set_reduction

OWN_SHARE = 0.25
"""Of the scatter within, that is taken from how all pictures vary, where nothing else is known of them."""
MARGIN = 0.05
"""How much nearer, in cosine, the nearest vehicle before another camera must be than the second nearest."""
_KNOWN_SHARE, _SHARE_BESIDE = 0.45, 0.1
_HALF_AT = 40  # pictures that have a partner, at which half of these shares is reached
_ROUNDS = 2


class Adapted(NamedTuple):
    """What came out, and which pictures it takes for one vehicle's."""

    model: ReIDModel
    labels: Tensor
    """(N,) int64 from 0 without gaps: pseudo-labels."""
    links: int
    """Pairs of vehicles that became one."""
    embeddings: Tensor
    """(N, dim) that `model` gives these pictures."""


@torch.no_grad()
def adapted(
    model: ReIDModel,
    embeddings: Tensor,
    *,
    share: float = OWN_SHARE,
    vehicles: Tensor | None = None,
    cameras: Tensor | None = None,
    margin: float | None = MARGIN,
) -> Adapted:
    """A copy of `model` whose reduction and neck are moved to pictures without labels: centred on them, and with what
    pictures of one vehicle vary in counting less (`whitening.directions`). What is known of that:

    - Pictures of one track (or one plate) are of one vehicle: `vehicles`.
    - Two vehicles before different cameras that are each other's nearest, and nearer than the second nearest by
      `margin`, are taken for one (`link`), twice: the second time by what the first has taught. Source: pseudo-labels
      of mutual neighbours, Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
      and Fu et al., "Self-similarity Grouping", ICCV 2019, here for a closed form.
    - What all pictures of a place vary in, its light or a kind of road, tells no two of them apart, whoever they show:
      for `share` the scatter within is taken to be their whole covariance (less of it, the more pairs there are).

    For the rest it is what it was, the same in all directions.

    Args:
        model: what made `embeddings`.
        embeddings: (N, dim) in evaluation mode, not normalised.
        share: from 0 to 1; see also `strangeness`.
        vehicles: (N,) int64; None: every picture is one.
        cameras: (N,) int64; None: nobody knows, and any two vehicles may be one.
        margin: None: nothing is linked.

    Raises:
        ReIDError: fewer than two pictures that differ.
    """
    rows = embeddings.double()
    mean = rows.mean(dim=0)
    if len(rows) < 2 or scatter(rows).total.trace() <= 1e-8 * mean.square().sum():
        raise ReIDError(f"{len(rows)} pictures of which no two differ; expected some that do, better a hundred")
    labels = own = torch.arange(len(rows)) if vehicles is None else vehicles.unique(return_inverse=True)[1]
    kinds = _means(rows, own)
    found, links = _directions(rows, labels, share, kinds), 0
    for _ in range(0 if margin is None else _ROUNDS):
        labels, links = link((rows - mean) @ found.T, own, cameras, margin=cast(float, margin))
        found = _directions(rows, labels, share, kinds)
    total = scatter(rows).total
    _, labels = labels.unique(return_inverse=True)
    matrix, offset = _affine(model)
    moved = ReIDModel(**{**model.architecture, "embedding_dim": model.embedding_dim, "neck": "bnneck"}).eval()
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith(("reduction.", "neck."))}
    moved.load_state_dict(kept, strict=False)
    set_reduction(moved, found @ matrix, found @ (mean - offset), ((found @ total) * found).sum(dim=1))
    return Adapted(moved, labels, links, ((rows - mean) @ found.T).float())


def link(embeddings: Tensor, vehicles: Tensor, cameras: Tensor | None, *, margin: float = MARGIN) -> tuple[Tensor, int]:
    """Labels (N,) in which two vehicles that are surely one have one number, and how many such pairs there are.

    embeddings: (N, dim); vehicles: (N,) int64 from 0 without gaps; cameras: (N,) int64 or None. Vehicles are compared
    by the cosine of their mean embeddings; two that one camera saw are never one.
    """
    count = int(vehicles.max()) + 1
    unit = functional.normalize(embeddings, dim=1)
    means = functional.normalize(_means(unit, vehicles), dim=1)
    scores = (means @ means.T).fill_diagonal_(-2.0)
    if cameras is not None:
        before = unit.new_zeros(count, int(cameras.max()) + 1)
        before[vehicles, cameras] = 1.0
        scores[before @ before.T > 0] = -2.0
    ranked = functional.pad(scores, (0, 2), value=-2.0).topk(2, dim=1).values
    nearest, numbers = scores.argmax(dim=1), torch.arange(count)
    sure = (nearest[nearest] == numbers) & (ranked[:, 0] > -1.0) & (ranked[:, 0] - ranked[:, 1] >= margin)
    sure &= sure[nearest]
    labels = torch.where(sure, torch.minimum(numbers, nearest), numbers)
    return labels[vehicles], int(sure.sum()) // 2


def strangeness(embeddings: Tensor) -> float:
    """From 0 to 1, how far pictures are from those that a model was whitened on: by the share of their embeddings'
    energy that lies in the mean of all, 0 to 5 % of it where the model knows their kind, and 15 % or more where it does
    not (drawn pictures: 2 %, photographs: 21 %, for a model that was whitened on drawn ones).

    embeddings: (N, dim), as for `adapted`.
    """
    rows = embeddings.double()
    of_mean, of_all = float(rows.mean(dim=0).square().sum()), float(rows.square().sum(dim=1).mean())
    by_chance = max(0.0, of_all - of_mean) / max(1, len(rows) - 1)  # that the mean of so few is not 0
    energy = (of_mean - by_chance) / max(of_all, 1e-12)
    return min(1.0, max(0.0, (energy - 0.05) / 0.1))


def _means(rows: Tensor, labels: Tensor) -> Tensor:
    """(labels, dim) for labels (N,) from 0 without gaps."""
    sums = rows.new_zeros(int(labels.max()) + 1, rows.shape[1]).index_add_(0, labels, rows)
    return sums / labels.bincount()[:, None]


def _directions(rows: Tensor, labels: Tensor, share: float, kinds: Tensor) -> Tensor:
    """(dim, dim) from the scatter within that labels say, and, for `share`, how `kinds`, a row a vehicle, vary."""
    _, labels = labels.unique(return_inverse=True)
    partners = len(rows) - int(labels.max()) - 1
    sure = partners / (partners + _HALF_AT)
    own = share + sure * (min(share, _SHARE_BESIDE) - share)
    here = scatter(rows)
    within = (1.0 - own - (1.0 - own) * _KNOWN_SHARE * sure) * torch.eye(rows.shape[1], dtype=torch.float64)
    within += own * _of_unit_trace(scatter(kinds).total)
    if partners:
        within += (1.0 - own) * _KNOWN_SHARE * sure * _of_unit_trace(scatter(rows, labels).within)
    return directions(Scatter(here.mean, within, here.total), rows.shape[1], shrinkage=0.0)


def _of_unit_trace(covariance: Tensor) -> Tensor:
    """With a diagonal of 1 in the mean."""
    return covariance / covariance.diagonal().mean().clamp(min=1e-12)


def _affine(model: ReIDModel) -> tuple[Tensor, Tensor]:
    """A (dim, width) and b (dim,), float64, with which reduction and neck, in evaluation mode, make A x + b of what is
    pooled."""
    matrix = torch.eye(model.embedding_dim, dtype=torch.float64)
    if isinstance(model.reduction, nn.Linear):
        matrix = model.reduction.weight.double().cpu()
    if not isinstance(model.neck, nn.BatchNorm1d):
        return matrix, torch.zeros(len(matrix), dtype=torch.float64)
    neck = cast(Any, model.neck)
    scale = (neck.weight.double() * (neck.running_var.double() + neck.eps).rsqrt()).cpu()
    return scale[:, None] * matrix, neck.bias.double().cpu() - scale * neck.running_mean.double().cpu()
