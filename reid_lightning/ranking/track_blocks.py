"""Tracks, checked and laid out in blocks of one length: whole rows instead of a loop over tracks, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.checks import check_embeddings
from reid_lightning.ranking.equal_rows import EqualRows

Tracks = Sequence[Tensor]
"""(images, dim) each; the numbers of images may differ."""


@dataclass(frozen=True)
class TrackBlock:
    """Some tracks of one length, image by image."""

    tracks: Tensor
    """(tracks,) their numbers."""
    images: Tensor
    """(images of each track, tracks, dim)."""

    def split(self, width: int) -> Iterator[TrackBlock]:
        """The same, at most `width` tracks at a time."""
        width = max(1, width)
        for tracks, images in zip(self.tracks.split(width), self.images.split(width, dim=1), strict=True):
            yield TrackBlock(tracks, images)


def block_pairs(
    query_tracks: Tracks,
    gallery_tracks: Tracks,
    prepare: Callable[[Tensor], Tensor] | None = None,
    *,
    dtype: torch.dtype,
    limit: int,
) -> Iterator[tuple[TrackBlock, TrackBlock]]:
    """All query tracks against all gallery tracks.

    A pair of blocks has at most `limit` pairs of images, unless two tracks alone have more. `prepare` may change a
    block's images in place: they are a copy.
    """

    def blocks(tracks: Tracks, part: Sequence[int]) -> Iterator[TrackBlock]:
        for _, of_one_length in groupby(part, key=lambda number: len(tracks[number])):
            numbers = list(of_one_length)
            images = torch.stack([tracks[number] for number in numbers], dim=1).to(dtype)
            yield TrackBlock(torch.tensor(numbers, device=images.device), prepare(images) if prepare else images)

    most_images = math.isqrt(limit)
    for gallery_part in _parts(gallery_tracks, most_images):
        gallery_blocks = list(blocks(gallery_tracks, gallery_part))
        for query_part in _parts(query_tracks, most_images):
            for query in blocks(query_tracks, query_part):
                for gallery in gallery_blocks:
                    of_two_tracks = len(query.images) * len(gallery.images)
                    for few in query.split(limit // of_two_tracks):
                        for others in gallery.split(limit // (of_two_tracks * len(few.tracks))):
                            yield few, others


def _parts(tracks: Tracks, limit: int) -> Iterator[list[int]]:
    """Numbers of tracks, the short tracks first: at most `limit` images together, or one track."""
    part: list[int] = []
    images = 0
    for number in sorted(range(len(tracks)), key=lambda number: len(tracks[number])):
        images += len(tracks[number])
        if part and images > limit:
            yield part
            part, images = [], len(tracks[number])
        part.append(number)
    yield part


def equal_tracks(tracks: Tracks, what_counts: Callable[[list[int]], Iterable[int]], *, dtype: torch.dtype) -> EqualRows:
    """Which tracks are equal in `what_counts` of their images: all in order (list), how often each (sorted), or which
    (set)."""
    images = EqualRows.of(torch.cat([track.detach().to(dtype) for track in tracks])).first.tolist()
    ends = accumulate(map(len, tracks))
    first_of: dict[object, int] = {}
    first = []
    for number, (end, track) in enumerate(zip(ends, tracks, strict=True)):
        counted = what_counts(images[end - len(track) : end])
        key = frozenset(counted) if isinstance(counted, set) else tuple(counted)
        first.append(first_of.setdefault(key, number))
    return EqualRows(torch.tensor(first, device=tracks[0].device))


def check_tracks(query_tracks: Tracks, gallery_tracks: Tracks) -> torch.dtype:
    """The type to compute in: float32, or float64 where an embedding is.

    Raises ReIDError for an empty list and for a track that is empty, holds NaN or infinity, or differs from the first
    query track in width or device.
    """
    dtype = torch.float32
    for side, tracks in (("query_tracks", query_tracks), ("gallery_tracks", gallery_tracks)):
        if len(tracks) == 0:
            raise ReIDError(f"{side} is empty; expected at least one track, a tensor (images, dim).")
        for number, track in enumerate(tracks):
            embeddings, _ = check_embeddings(f"{side}[{number}]", track)
            dtype = torch.promote_types(dtype, embeddings.dtype)
            first = query_tracks[0]
            if track.shape[1] != first.shape[1]:
                raise ReIDError(
                    f"{side}[{number}] has {track.shape[1]} numbers for each image, query_tracks[0] {first.shape[1]}; "
                    "all must come from one model."
                )
            if track.device != first.device:
                raise ReIDError(
                    f"{side}[{number}] is on {track.device}, query_tracks[0] on {first.device}; move all to one device."
                )
    return dtype
