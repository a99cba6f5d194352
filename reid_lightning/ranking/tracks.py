"""Distances between tracks (the pictures of one vehicle by one camera): MED, MCD and RSCR of arXiv 1910.09458.

Everything beside the products of all images is a minimum, a sum or a sort of whole rows, and costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.neighbours import entries_below
from reid_lightning.ranking.precision import product, square_root_
from reid_lightning.ranking.scores import SMALLEST_NORM
from reid_lightning.ranking.sparse_coding import squared_residuals
from reid_lightning.ranking.track_blocks import TrackGroup, TrackPart, TrackRows, Tracks, lay_out

TrackMetric = Literal["med", "mcd", "rscr"]
Aggregation = Literal["min", "mean", "med", "mean50", "med50"]
Variant = Literal["paper", "released"]

Distances = Callable[[Tensor, Tensor], Tensor]
"""`distances(query (rows, dim), gallery (columns, dim))` -> (rows, columns)."""

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

    Memory: one copy of all images, and 64 MiB of distances of images at a time ("released": or those of two tracks).

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
    query, gallery = lay_out(query_tracks, gallery_tracks, block_bytes=_BLOCK_BYTES // 2)
    result = _matrix(query, gallery)
    for query_group, signals in _groups(query):
        for gallery_group, dictionaries in _groups(gallery):
            squares = squared_residuals(signals.flatten(0, 1), dictionaries)
            of_tracks = squares.view(*signals.shape[:2], -1).sum(dim=0)
            result[query_group.tracks[:, None], gallery_group.tracks] = square_root_(of_tracks).to(result.dtype)
    gallery.equal(set).copy_columns(query.equal(sorted).copy_rows(result))
    return result


def _groups(side: TrackRows) -> list[tuple[TrackGroup, Tensor]]:
    """All groups with their images (images, tracks, dim)."""
    return [(group, group.of(part.rows)) for part in side.parts for group in part.groups]


def _aggregated(
    query_tracks: Tracks, gallery_tracks: Tracks, metric: TrackMetric, names: Sequence[str], variant: Variant
) -> dict[str, Tensor]:
    paper = variant == "paper"
    block_bytes = _BLOCK_BYTES if paper else _BLOCK_BYTES // 2  # those are copied to be sorted
    query, gallery = lay_out(query_tracks, gallery_tracks, block_bytes=block_bytes)
    # Tracks of the same images get the distances of the first of them, because products round equal images differently.
    # For a query track it matters how often it has an image, and for running minima in which order; for a gallery track
    # only for running minima how often.
    equal = query.equal(sorted if paper else list), gallery.equal(set if paper else sorted)
    if metric == "mcd":
        distances: Distances = _cosine
        for side in (query, gallery):
            side.rows.div_(torch.linalg.vector_norm(side.rows, dim=1, keepdim=True).clamp_(min=SMALLEST_NORM))
    else:
        distances = _euclidean
        centre = gallery.rows.mean(dim=0)  # shorter vectors cancel less
        for side in (query, gallery):
            side.rows.sub_(centre)
    results = {name: _matrix(query, gallery) for name in names}
    for others in gallery.parts:
        for part in query.parts:
            of_groups = _minima if paper else _running_minima
            for query_group, tracks, values in of_groups(part, others, distances):
                ordered = _sorted(values)
                for name, result in results.items():
                    result[query_group.tracks[:, None], tracks] = _AGGREGATIONS[name](ordered)
    for result in results.values():
        equal[1].copy_columns(equal[0].copy_rows(result))
    return results


Values = Iterator[tuple[TrackGroup, Tensor, Tensor]]
"""A group of query tracks, numbers (tracks,) of gallery tracks, and what is aggregated: (values, query, gallery)."""


def _minima(query: TrackPart, gallery: TrackPart, distances: Distances) -> Values:
    """Distances of query images from the closest image of a track."""
    least = []
    for some in query.rows.split(max(1, _BLOCK_BYTES // gallery.rows.element_size() // len(gallery.rows))):
        block = distances(some, gallery.rows)
        least.append(torch.cat([group.of(block, dim=1).amin(dim=1) for group in gallery.groups], dim=1))
    rows, numbers = torch.cat(least), torch.cat([group.tracks for group in gallery.groups])
    for group in query.groups:
        yield group, numbers, group.of(rows)


def _running_minima(query: TrackPart, gallery: TrackPart, distances: Distances) -> Values:
    """All running minima of two tracks, query images x gallery images of them."""
    block = distances(query.rows, gallery.rows)
    for group in query.groups:
        running = group.of(block)
        for image in range(1, group.images):
            torch.minimum(running[image - 1], running[image], out=running[image])
        for other in gallery.groups:
            yield group, other.tracks, other.of(running, dim=2).transpose(1, 2).flatten(0, 1)


def _cosine(rows: Tensor, columns: Tensor) -> Tensor:
    """1 - q.g of unit vectors."""
    return product(rows, columns).neg_().add_(1).clamp_(min=0)


def _euclidean(rows: Tensor, columns: Tensor) -> Tensor:
    """|q - g|, the root of |q|^2 - 2 q.g + |g|^2, or straight from q - g where these cancel."""
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True).square()
    squares = product(rows, columns)
    torch.sub(torch.linalg.vector_norm(columns, dim=1).square(), squares, alpha=2, out=squares)
    near = entries_below(squares.add_(lengths), _NEAR * lengths[:, 0])
    found = square_root_(squares.clamp_(min=0))
    for row, column in zip(*(numbers.split(1024) for numbers in near), strict=True):
        found[row, column] = torch.linalg.vector_norm(rows[row] - columns[column], dim=1)
    return found


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


def _matrix(query: TrackRows, gallery: TrackRows) -> Tensor:
    return query.rows.new_empty(query.tracks, gallery.tracks)


def _check_choice(name: str, value: str, choices: object) -> None:
    if value not in get_args(choices):
        raise ReIDError(f"{name} is {value!r}; expected one of {', '.join(get_args(choices))}.")
