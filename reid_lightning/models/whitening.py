"""Where a reduction starts that has seen no gradient: at directions in which vehicles differ more than their pictures do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.reid_model import ReIDModel

SHRINKAGE = 0.3


class Scatter(NamedTuple):
    """What a linear reduction can be made of: float64."""

    mean: Tensor
    """(dim,) of all features."""
    within: Tensor
    """(dim, dim) covariance of the features about the mean of their vehicle, or about `mean` without labels."""
    total: Tensor
    """(dim, dim) covariance about `mean`."""


@torch.inference_mode()
def pooled_features(model: ReIDModel, batches: Iterable[Tensor]) -> Tensor:
    """Batches of normalised pictures (B, 3, H, W) to what the reduction is given, (N, width), on the CPU."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        return torch.cat([model.pooled(images.to(device)).float().cpu() for images in batches])
    finally:
        model.train(training)


def scatter(features: Tensor, labels: Tensor | None = None) -> Scatter:
    """features: (N, dim) before the reduction; labels: (N,) int64, or None where nobody knows which are one vehicle."""
    features = features.double()
    mean = features.mean(dim=0)
    total = _covariance(features - mean)
    if labels is None:
        return Scatter(mean, total, total)
    _, labels = labels.unique(return_inverse=True)
    sums = features.new_zeros(int(labels.max()) + 1, features.shape[1]).index_add_(0, labels, features)
    centres = sums / labels.bincount()[:, None]
    return Scatter(mean, _covariance(features - centres[labels]), total)


def mixed(known: Scatter, own: Tensor, *, share: float) -> Scatter:
    """`known` moved to pictures without labels, whose features `own` (N, dim) are: their mean, and a within that is for
    `share` their whole covariance. What all of a user's pictures vary in, a camera or a kind of road, tells no two of
    them apart, whoever they show."""
    here = scatter(own)
    within = share * _unit_scale(here.total) + (1.0 - share) * _unit_scale(known.within)
    return Scatter(here.mean, within, here.total)


def directions(found: Scatter, dim: int, *, shrinkage: float = SHRINKAGE) -> Tensor:
    """(dim, features): rows w with w' W w = 1 and w' T w as large as possible, W the scatter within, T the total.

    W is (1 - `shrinkage`) of the scatter within and `shrinkage` of as much in all directions. Source: Fisher's linear
    discriminant; Mikolajczyk and Matas, "Improving Descriptors for Fast Tree Matching by Optimal Linear Projection",
    ICCV 2007, which whitens descriptors by the pairs that match.
    """
    width = len(found.mean)
    if not 0 < dim <= width:
        raise ReIDError(f"embedding_dim={dim}: expected 1 to {width}, as many as the network has features")
    within = (1.0 - shrinkage) * found.within + shrinkage * found.within.diagonal().mean() * torch.eye(width)
    values, vectors = torch.linalg.eigh(within)
    whitening = vectors * values.clamp(min=1e-12).rsqrt() @ vectors.T
    _, axes = torch.linalg.eigh(whitening @ found.total @ whitening)
    return (whitening @ axes[:, -dim:]).T.flip(0)


@torch.no_grad()
def start_reduction(model: ReIDModel, found: Scatter, *, shrinkage: float = SHRINKAGE) -> None:
    """Set the reduction of `model` to `directions` and its neck to their mean and deviation, in place, so that the
    embeddings are the centred, whitened features, in training and in evaluation alike."""
    if not isinstance(model.reduction, nn.Linear) or not isinstance(model.neck, nn.BatchNorm1d):
        raise ReIDError("a whitened start needs model.embedding_dim, such as 512, and model.neck=bnneck")
    rows = directions(found, model.embedding_dim, shrinkage=shrinkage)
    model.reduction.weight.copy_(rows)
    variances = ((rows @ found.total) * rows).sum(dim=1)
    model.neck.running_mean.copy_(rows @ found.mean)  # type: ignore[union-attr]
    model.neck.running_var.copy_(variances)  # type: ignore[union-attr]
    model.neck.weight.copy_((variances + model.neck.eps).sqrt())


def _covariance(centred: Tensor) -> Tensor:
    return centred.T @ centred / max(1, len(centred) - 1)


def _unit_scale(covariance: Tensor) -> Tensor:
    return covariance / covariance.diagonal().mean()
