"""Distances between tracks (the pictures of one vehicle by one camera): MED, MCD and RSCR of arXiv 1910.09458.

Everything beside the products of all images is a minimum, a sum or a sort of whole rows, and costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Literal, get_args

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.precision import product
from reid_lightning.ranking.scores import SMALLEST_NORM
from reid_lightning.ranking.sparse_coding import squared_residuals
from reid_lightning.ranking.track_blocks import TrackBlock, Tracks, block_pairs, check_tracks, equal_tracks

TrackMetric = Literal["med", "mcd", "rscr"]
Aggregation = Literal["min", "mean", "med", "mean50", "med50"]
Variant = Literal["paper", "released"]

Distances = Callable[[Tensor, Tensor], Tensor]
"""`distances(rows (rows, dim), gallery (images, tracks, dim))` -> (rows, images, tracks)."""

_BLOCK_BYTES = 1 << 26  # distances of images held at a time; fewer make the product slower
_NEAR = 2**-8  # of |q|^2: what a product leaves of a smaller squared distance has lost digits that matter


@torch.no_grad()
def track_distances(
    query_tracks: Tracks,
    gallery_tracks: Tracks,
    *,
    metric: TrackMetric = "mcd",
    aggregation: Aggregation = "mean50",
    variant: Variant = "paper",
) -> Tensor:
    """Distances (queries, gallery) of tracks; query tracks of one image give those of images to tracks.

    Each query image is as far from a gallery track as from its closest image; these minima are aggregated over the
    images of the query track (arXiv 1910.09458).

    Args:
        query_tracks: tensors (images, dim) of one width on one device, any floating type; computed in float32 (float64
            stays). `gallery_tracks` likewise. The numbers of images may differ.
        metric: "med" compares images by Euclidean distance, "mcd" by 1 - cosine (1 for a zero vector). "rscr" is the
            residual of sparse coding: the root of the sum, over the query track's images y, of |y - D'w|^2 at
            w = argmin 0.5 |y - D'w|^2 + |w|_1, where the rows of D are the gallery track's images; `aggregation` and
            `variant` do not apply. Embeddings are not normalised: "med" and "rscr" depend on their scale, and with
            embeddings of length 1 "rscr" tells nothing, because w is 0.
        aggregation: "min", "mean", "med" (the median; of an even number the mean of the middle two), or "mean50" and
            "med50": mean and median of the n // 2 + 1 smallest of n.
        variant: "paper", or "released" for what the authors' published loop computes: for each gallery image the
            running minimum over the query images in their order; all of these are aggregated.

    Gallery tracks of the same images, and query tracks of the same images, have equal distances to the last bit, in
    whatever order and however often a track has an image, where the formula does not ask. Different tracks that share
    the closest image may differ in the last bits, by which products of blocks of different sizes round.

    Memory: 64 MiB of distances of images at a time ("released": or those of two tracks), and copies of these images;
    before that one copy of all images of a side.

    Raises:
        ReIDError: an argument is unknown, a list or a track is empty, or a track's numbers are not finite or do not
            fit the others'.
    """
    _check_choice("metric", metric, TrackMetric)
    _check_choice("aggregation", aggregation, Aggregation)
    _check_choice("variant", variant, Variant)
    if metric == "rscr":
        return _residuals(query_tracks, gallery_tracks)
    return _aggregated(query_tracks, gallery_tracks, metric, (aggregation,), variant)[aggregation]


@torch.no_grad()
def track_distances_all(
    query_tracks: Tracks, gallery_tracks: Tracks, *, metric: TrackMetric, variant: Variant = "paper"
) -> dict[str, Tensor]:
    """`track_distances` under all five aggregations, by their names, in the time of one; not for "rscr"."""
    _check_choice("metric", metric, TrackMetric)
    _check_choice("variant", variant, Variant)
    if metric == "rscr":
        raise ReIDError("metric is 'rscr', which has no aggregation; use track_distances.")
    return _aggregated(query_tracks, gallery_tracks, metric, get_args(Aggregation), variant)


def _residuals(query_tracks: Tracks, gallery_tracks: Tracks) -> Tensor:
    dtype = check_tracks(query_tracks, gallery_tracks)
    result = _matrix(query_tracks, gallery_tracks, dtype)
    for query, gallery in block_pairs(query_tracks, gallery_tracks, dtype=torch.float64, limit=_BLOCK_BYTES // 8):
        squares = squared_residuals(query.images.flatten(0, 1), gallery.images)
        of_tracks = squares.view(*query.images.shape[:2], -1).sum(dim=0)
        result[query.tracks[:, None], gallery.tracks] = of_tracks.sqrt().to(dtype)
    _copy_to_equal([result], query_tracks, gallery_tracks, dtype, variant="paper")
    return result


def _aggregated(
    query_tracks: Tracks, gallery_tracks: Tracks, metric: TrackMetric, names: Sequence[str], variant: Variant
) -> dict[str, Tensor]:
    dtype = check_tracks(query_tracks, gallery_tracks)
    results = {name: _matrix(query_tracks, gallery_tracks, dtype) for name in names}
    if metric == "mcd":
        distances, prepare = _cosine, _unit_vectors
    else:
        centre = torch.stack([track.to(dtype).mean(dim=0) for track in gallery_tracks]).mean(dim=0)
        distances, prepare = _euclidean, partial(Tensor.sub_, other=centre)  # shorter vectors cancel less
    limit = _BLOCK_BYTES // dtype.itemsize
    values: Callable[[Tensor, Tensor, Distances], Tensor] = partial(_minima, limit=limit)
    if variant == "released":
        limit //= 2  # they are copied to be sorted
        values = _running_minima
    for query, gallery in block_pairs(query_tracks, gallery_tracks, prepare, dtype=dtype, limit=limit):
        _aggregate(values(query.images, gallery.images, distances), query, gallery, results)
    _copy_to_equal(list(results.values()), query_tracks, gallery_tracks, dtype, variant=variant)
    return results


def _copy_to_equal(
    results: Sequence[Tensor], query_tracks: Tracks, gallery_tracks: Tracks, dtype: torch.dtype, *, variant: Variant
) -> None:
    """Give tracks of the same images the distances of the first of them: products round equal images differently.

    For a query track it matters how often it has an image, and for running minima in which order; for a gallery track
    only for running minima how often.
    """
    paper = variant == "paper"
    query = equal_tracks(query_tracks, sorted if paper else list, dtype=dtype)
    gallery = equal_tracks(gallery_tracks, set if paper else sorted, dtype=dtype)
    for result in results:
        gallery.copy_columns(query.copy_rows(result))


def _aggregate(values: Tensor, query: TrackBlock, gallery: TrackBlock, results: dict[str, Tensor]) -> None:
    """Write the aggregations of `values` (values, query tracks, gallery tracks) into `results`, by their names."""
    ordered = _sorted(values)
    for name, result in results.items():
        result[query.tracks[:, None], gallery.tracks] = _AGGREGATIONS[name](ordered)


def _minima(query: Tensor, gallery: Tensor, distances: Distances, limit: int) -> Tensor:
    """Distances of query images from the closest image of a track: (query images, query tracks, gallery tracks)."""
    rows, tracks = query.flatten(0, 1), gallery.shape[1]
    pieces = gallery.split(max(1, limit // (len(rows) * tracks)))
    least = reduce(torch.minimum, (distances(rows, piece).amin(dim=1) for piece in pieces))
    return least.view(*query.shape[:2], tracks)


def _running_minima(query: Tensor, gallery: Tensor, distances: Distances) -> Tensor:
    """All running minima of two tracks: (query images x gallery images, query tracks, gallery tracks)."""
    running = distances(query.flatten(0, 1), gallery).view(*query.shape[:2], *gallery.shape[:2])
    for image in range(1, len(query)):
        torch.minimum(running[image - 1], running[image], out=running[image])
    return running.transpose(1, 2).flatten(0, 1)


def _unit_vectors(images: Tensor) -> Tensor:
    return images.div_(torch.linalg.vector_norm(images, dim=2, keepdim=True).clamp_(min=SMALLEST_NORM))


def _cosine(rows: Tensor, gallery: Tensor) -> Tensor:
    """1 - q.g of unit vectors."""
    products = product(rows, gallery.flatten(0, 1))
    return products.neg_().add_(1).clamp_(min=0).view(len(rows), *gallery.shape[:2])


def _euclidean(rows: Tensor, gallery: Tensor) -> Tensor:
    """|q - g|, the root of |q|^2 - 2 q.g + |g|^2, or straight from q - g where these cancel."""
    columns = gallery.flatten(0, 1)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True).square()
    squares = product(-2 * rows, columns).add_(torch.linalg.vector_norm(columns, dim=1).square())
    near = (squares.add_(lengths) < _NEAR * lengths).nonzero()
    found = squares.clamp_(min=0).sqrt_()
    for pairs in near.split(1024):
        row, column = pairs.unbind(dim=1)
        found[row, column] = torch.linalg.vector_norm(rows[row] - columns[column], dim=1)
    return found.view(len(rows), *gallery.shape[:2])


def _sorted(values: Tensor) -> Tensor:
    """`values` in ascending order along the first dimension; they may be overwritten."""
    if values.device.type != "cpu":
        return values.sort(dim=0).values
    ordered = values.movedim(0, -1).contiguous().numpy()
    ordered.sort(axis=-1)  # several times as fast as torch's sort, which makes an index too
    return torch.from_numpy(ordered).movedim(-1, 0)


def _closest_half(ordered: Tensor) -> Tensor:
    return ordered[: len(ordered) // 2 + 1]


def _median(ordered: Tensor) -> Tensor:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


_AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "min": lambda ordered: ordered[0],
    "mean": lambda ordered: ordered.mean(dim=0),
    "med": _median,
    "mean50": lambda ordered: _closest_half(ordered).mean(dim=0),
    "med50": lambda ordered: _median(_closest_half(ordered)),
}


def _matrix(query_tracks: Tracks, gallery_tracks: Tracks, dtype: torch.dtype) -> Tensor:
    return torch.empty(len(query_tracks), len(gallery_tracks), dtype=dtype, device=query_tracks[0].device)


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise ReIDError(f"{name} is {value!r}; expected one of {', '.join(get_args(choices))}.")
