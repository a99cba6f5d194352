"""Tracks, checked and laid out by their length: whole rows instead of a loop over tracks, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import check_embeddings
from reid_lightning.ranking.equal_rows import EqualRows
from reid_lightning.ranking.precision import empty_matrix

Tracks = Sequence[Tensor]
"""(images, dim) each; the numbers of images may differ."""


@dataclass(frozen=True)
class TrackGroup:
    """Tracks of one length, whose rows lie image by image: the first image of every track, then the second, ..."""

    tracks: Tensor
    """(tracks,) their numbers."""
    images: int
    """Of each track."""
    start: int
    """Its first row in its part."""

    def of(self, rows: Tensor, dim: int = 0) -> Tensor:
        """A view of its share of a part's `rows`: (images, tracks) in place of dimension `dim`."""
        size = (self.images, len(self.tracks))
        view: Tensor = rows.narrow(dim, self.start, size[0] * size[1]).unflatten(dim, size)
        return view


@dataclass(frozen=True)
class TrackPart:
    """Groups of tracks that are compared at once."""

    rows: Tensor
    """(images, dim) of all its tracks."""
    groups: Sequence[TrackGroup]


@dataclass(frozen=True)
class TrackRows:
    """A copy of all images of a side, (images, dim), part after part."""

    rows: Tensor
    parts: Sequence[TrackPart]

    @property
    def tracks(self) -> int:
        """Their number."""
        return sum(len(group.tracks) for part in self.parts for group in part.groups)

    def equal(self, what_counts: Callable[[list[int]], Iterable[int]]) -> EqualRows:
        """Which tracks are equal in `what_counts` of their images: all in order (list), how often each (sorted), or
        which (set)."""
        images = EqualRows.of(self.rows)
        first = torch.arange(self.tracks, device=self.rows.device)
        if not len(images.later):
            return EqualRows(first)
        keys: dict[int, object] = {}
        for part, equal in zip(self.parts, images.first.split([len(part.rows) for part in self.parts]), strict=True):
            for group in part.groups:
                for number, numbers in zip(group.tracks.tolist(), group.of(equal).T.tolist(), strict=True):
                    counted = what_counts(numbers)
                    keys[number] = frozenset(counted) if isinstance(counted, set) else tuple(counted)
        first_of: dict[object, int] = {}
        return EqualRows(first.new_tensor([first_of.setdefault(keys[number], number) for number in range(len(keys))]))


def lay_out(query_tracks: Tracks, gallery_tracks: Tracks, *, block_bytes: int) -> tuple[TrackRows, TrackRows]:
    """Both sides in float32, or in float64 where an embedding is.

    A number for each pair of images of a pair of parts takes at most `block_bytes`, unless two tracks alone have more.

    Raises ReIDError for an empty list and for a track that is empty, holds NaN or infinity, or differs from the first
    query track in width or device.
    """
    sides = {"query_tracks": query_tracks, "gallery_tracks": gallery_tracks}
    dtype = torch.float32
    for side, tracks in sides.items():
        if len(tracks) == 0:
            raise ReIDError(f"{side} is empty; expected at least one track, a tensor (images, dim).")
        for number, track in enumerate(tracks):
            _check_track(f"{side}[{number}]", track, query_tracks[0])
            dtype = torch.promote_types(dtype, track.dtype) if track.dtype == torch.float64 else dtype
    lengths = {side: [track.shape[0] for track in tracks] for side, tracks in sides.items()}
    limit = block_bytes // dtype.itemsize
    longest = {side: max(numbers) for side, numbers in lengths.items()}
    query, gallery = (
        _lay_out(side, tracks, lengths[side], min(math.isqrt(limit), limit // longest[other]), dtype)
        for (side, tracks), other in zip(sides.items(), reversed(sides), strict=True)
    )
    return query, gallery


def _lay_out(side: str, tracks: Tracks, lengths: Sequence[int], most_images: int, dtype: torch.dtype) -> TrackRows:
    like = torch.empty(0, dtype=dtype, device=tracks[0].device)
    rows = empty_matrix(sum(lengths), tracks[0].shape[1], like=like)
    parts, end = [], 0
    for numbers in _parts(lengths, most_images):
        start, groups = end, []
        for images, of_one_length in groupby(numbers, key=lengths.__getitem__):
            group = TrackGroup(torch.tensor(list(of_one_length), device=rows.device), images, end - start)
            end += images * len(group.tracks)
            torch.stack([tracks[number].to(dtype) for number in group.tracks.tolist()], 1, out=group.of(rows[start:]))
            groups.append(group)
        parts.append(TrackPart(rows[start:end], groups))
    try:
        check_embeddings(side, rows)
    except ReIDError:
        for number, track in enumerate(tracks):
            check_embeddings(f"{side}[{number}]", track)
        raise
    return TrackRows(rows, parts)


def _parts(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Numbers of tracks of `lengths`, the short tracks first: at most `limit` images together, or one track."""
    part: list[int] = []
    images = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        images += lengths[number]
        if part and images > limit:
            yield part
            part, images = [], lengths[number]
        part.append(number)
    yield part


def _check_track(name: str, track: Tensor, first: Tensor) -> None:
    if not isinstance(track, Tensor) or track.ndim != 2 or 0 in track.shape or not track.is_floating_point():
        check_embeddings(name, track)
    if track.shape[1] != first.shape[1]:
        raise ReIDError(
            f"{name} has {track.shape[1]} numbers for each image, query_tracks[0] {first.shape[1]}; all must come from "
            "one model."
        )
    if track.device != first.device:
        raise ReIDError(f"{name} is on {track.device}, query_tracks[0] on {first.device}; move all to one device.")
