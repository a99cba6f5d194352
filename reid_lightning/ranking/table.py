"""Embeddings with the names of what they show: the one thing that protocols rank and files hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError


@dataclass(frozen=True)
class EmbeddingTable:
    """One embedding a picture: (pictures, dim), with (pictures,) names beside it.

    `tracks` groups pictures of one vehicle from one camera; the same name is the same track. `names` tell pictures
    apart in rankings. `model` is the fingerprint of the bundle that embedded, "" where unknown.
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

        return EmbeddingTable(
            self.embeddings[list(rows)],
            tuple(self.identities[row] for row in rows),
            pick(self.cameras),
            pick(self.tracks),
            pick(self.names),
            self.model,
        )

    def by_track(self) -> TrackTable:
        """The tracks, in the order of their first pictures.

        Raises:
            ReIDError: there are no tracks, or one holds pictures of two vehicles or cameras.
        """
        if self.tracks is None:
            raise ReIDError(
                "these pictures have no tracks, so tracks cannot be ranked; use protocol=image_to_image, or data with "
                "tracks (VeRi-776's test_track.txt, a `track` column or group)."
            )
        rows_of: dict[str, list[int]] = {}
        for row, track in enumerate(self.tracks):
            rows_of.setdefault(track, []).append(row)
        for track, rows in rows_of.items():
            for kind, values in (("vehicles", self.identities), ("cameras", self.cameras)):
                found = sorted({values[row] for row in rows}) if values is not None else []
                if len(found) > 1:
                    raise ReIDError(f"track {track!r} holds pictures of several {kind}: {', '.join(found[:3])}.")
        first = [rows[0] for rows in rows_of.values()]
        return TrackTable(
            tuple(rows_of),
            tuple(self.embeddings[rows] for rows in rows_of.values()),
            tuple(self.identities[row] for row in first),
            None if self.cameras is None else tuple(self.cameras[row] for row in first),
            tuple(rows_of) if self.names is None else tuple(self.names[row] for row in first),
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
    """The pictures of the query pictures' tracks.

    VeRi-776's queries are single pictures out of tracks whose pictures lie in the gallery; where the gallery has none
    of a track, the query pictures are all there is of it.
    """
    tracks = dict.fromkeys(query.by_track().names)
    in_gallery = [row for row, track in enumerate(gallery.tracks or ()) if track in tracks]
    found = gallery.rows(in_gallery)
    there = set(found.tracks or ())
    rest = query.rows([row for row, track in enumerate(query.tracks or ()) if track not in there])
    joined = EmbeddingTable(
        torch.cat([found.embeddings, rest.embeddings]),
        found.identities + rest.identities,
        None if found.cameras is None or rest.cameras is None else found.cameras + rest.cameras,
        (found.tracks or ()) + (rest.tracks or ()),
        None if found.names is None or rest.names is None else found.names + rest.names,
        query.model,
    )
    order = {track: place for place, track in enumerate(tracks)}
    return joined.rows(sorted(range(len(joined.identities)), key=lambda row: order[joined.tracks[row]]))
