"""Embeddings with the names of what they show: the one thing that protocols rank and files hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError

TrackKey = tuple[str, str, str]
"""Vehicle, camera ("" where unknown) and name: data sets that number each vehicle's tracks from 0 need all three."""


@dataclass(frozen=True)
class EmbeddingTable:
    """One embedding a picture: (pictures, dim), with (pictures,) names beside it.

    `tracks` groups pictures of one vehicle from one camera; the same name is the same track. `names` tell pictures
    apart. `model` is the fingerprint of the bundle that embedded, "" where unknown.
    """

    embeddings: Tensor
    identities: tuple[str, ...]
    cameras: tuple[str, ...] | None = None
    tracks: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        for name in ("identities", "cameras", "tracks", "names"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.embeddings):
                raise ReIDError(f"{name} has {len(values)} entries for {len(self.embeddings)} embeddings.")

    def rows(self, rows: Sequence[int]) -> EmbeddingTable:
        """The pictures in `rows`, in that order."""

        def pick(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[row] for row in rows)

        identities = tuple(self.identities[row] for row in rows)
        columns = (pick(self.cameras), pick(self.tracks), pick(self.names))
        return EmbeddingTable(self.embeddings[list(rows)], identities, *columns, self.model)

    def track_keys(self) -> list[TrackKey]:
        """The track of each picture; ReIDError where there are none."""
        if self.tracks is None:
            raise ReIDError(
                "these pictures have no tracks, so tracks cannot be ranked; use protocol=image_to_image, or data with "
                "tracks (VeRi-776's test_track.txt, a `track` column or group)."
            )
        cameras = self.cameras or ("",) * len(self.identities)
        return list(zip(self.identities, cameras, self.tracks, strict=True))

    def by_track(self) -> TrackTable:
        """The tracks, in the order of their first pictures; ReIDError where there are none."""
        rows_of: dict[TrackKey, list[int]] = {}
        for row, key in enumerate(self.track_keys()):
            rows_of.setdefault(key, []).append(row)
        times = Counter(name for _, _, name in rows_of)
        names = tuple(key[2] if times[key[2]] == 1 else "_".join(filter(None, key)) for key in rows_of)
        first = [rows[0] for rows in rows_of.values()]
        return TrackTable(
            names,
            tuple(self.embeddings[rows] for rows in rows_of.values()),
            tuple(self.identities[row] for row in first),
            None if self.cameras is None else tuple(self.cameras[row] for row in first),
            names if self.names is None else tuple(self.names[row] for row in first),
        )


@dataclass(frozen=True)
class TrackTable:
    """(tracks,) names, embeddings (pictures of the track, dim) each, identities, cameras, and the name of each track's
    first picture."""

    names: tuple[str, ...]
    embeddings: tuple[Tensor, ...]
    identities: tuple[str, ...]
    cameras: tuple[str, ...] | None
    pictures: tuple[str, ...]


def whole_query_tracks(query: EmbeddingTable, gallery: EmbeddingTable) -> EmbeddingTable:
    """The query pictures, and before them the gallery's pictures of the same tracks, none twice.

    VeRi-776's queries are single pictures out of tracks whose pictures lie in the gallery. Pictures of one track are
    the same when their file names are; where pictures have no names, a query track is what the queries hold of it.
    """
    keys = query.track_keys()
    if query.names is None or gallery.names is None or gallery.tracks is None:
        return query
    pictures: dict[TrackKey, dict[str, tuple[int, int]]] = {key: {} for key in keys}
    for side, keys_of_side, names in ((1, gallery.track_keys(), gallery.names), (0, keys, query.names)):
        for row, (key, name) in enumerate(zip(keys_of_side, names, strict=True)):
            if key in pictures:
                pictures[key].setdefault(PurePath(name).name, (side, row))
    wanted = [place for of_track in pictures.values() for place in of_track.values()]
    both = _joined(query, gallery)
    return both.rows([row + side * len(query.identities) for side, row in wanted])


def _joined(first: EmbeddingTable, second: EmbeddingTable) -> EmbeddingTable:
    def join(name: str) -> tuple[str, ...] | None:
        sides = getattr(first, name), getattr(second, name)
        return None if None in sides else sides[0] + sides[1]

    columns = (join("cameras"), join("tracks"), join("names"))
    embeddings = torch.cat([first.embeddings, second.embeddings])
    return EmbeddingTable(embeddings, first.identities + second.identities, *columns, first.model)
