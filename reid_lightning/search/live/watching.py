"""Whether a sighting is one that a watch list asks for: by the plate that was read, or by its looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reid_lightning.data.images.reading import load_image
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.live.cameras import WatchList
from reid_lightning.search.live.hits import Hit, hit_of, hit_to_json
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.matching.gallery_embeddings import known_vehicle
from reid_lightning.search.matching.track_decisions import decide_tracks
from reid_lightning.search.plates.names import plate_name
from reid_lightning.search.records import Candidate, Filter, Sighting
from reid_lightning.search.stores.base import read_whole

_NO_PICTURE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Watched:
    """The watch lists, and what sightings are compared with.

    A vehicle is compared as a track: mean MCD of the better half (arXiv 1910.09458) to each of its sightings, of which
    the most similar one counts; from the list's `min_score` on it is a hit.

    Args:
        lists: what is looked for; names of vehicles as folders have them, `min_score` a number.
        gallery: where sightings lie.
        index: their vectors; None: plates alone can be watched.
    """

    lists: tuple[WatchList, ...]
    gallery: Gallery
    index: GalleryIndex | None

    def hits(self, sighting: Sighting) -> list[Hit]:
        """All that is asked for of a sighting in the gallery, and with its vectors in the store."""
        wanted = [one for one in self.lists if one.cameras is None or sighting.camera in one.cameras]
        plate = None if sighting.plate is None else _plate(sighting.plate)
        found = []
        for one in wanted:
            if plate is not None and plate in one.plates:
                found.append(hit_of(one.name, "plate", plate, sighting.plate_confidence, sighting))
            if plate is not None and sighting.vehicle in one.vehicles:  # its plate has put it into that folder
                found.append(hit_of(one.name, "plate", sighting.vehicle, sighting.plate_confidence, sighting))
        names = sorted({name for one in wanted for name in one.vehicles})
        if not names or self.index is None:
            return found
        own, others = self._vectors(sighting, names)
        if own is None or not others:
            return found
        pictures = [Candidate(_NO_PICTURE, track=1) for _ in own]
        for decision in decide_tracks(pictures, own, others, min_score=-1.0, top_k=len(names)):
            for one in wanted:
                if decision.vehicle in one.vehicles and decision.similarity >= float(one.min_score or 0.0):
                    score, like = decision.similarity, decision.sighting
                    found.append(hit_of(one.name, "vehicle", decision.vehicle, score, sighting, like))
        return found

    def _vectors(self, sighting: Sighting, names: Sequence[str]) -> tuple[Tensor | None, dict[tuple[str, str], Tensor]]:
        """Those of the sighting, and those of the watched vehicles' other sightings."""
        assert self.index is not None
        store = self.index.store
        where = Filter(vehicles=tuple(sorted({*names, sighting.vehicle})))
        rows: dict[tuple[str, str], list[Tensor]] = {}
        for records, vectors in read_whole(lambda: store.scan(where)):
            for record, vector in zip(records, torch.from_numpy(np.asarray(vectors, np.float32)), strict=True):
                rows.setdefault((record.vehicle, record.sighting), []).append(vector)
        stacked = {key: torch.stack(vectors) for key, vectors in rows.items()}
        own = next((vectors for (_, name), vectors in stacked.items() if name == sighting.id), None)
        others = {key: vectors for key, vectors in stacked.items() if key[0] in names and key[1] != sighting.id}
        return own, others


@dataclass(frozen=True)
class Checker:
    """Compares what is saved with the watch lists, so that a kill at any moment loses no hit of what was saved."""

    watched: Watched
    spool: Spool

    def begin(self, sighting: str) -> None:
        """Before it is saved."""
        if self.watched.lists:
            self.spool.begin(sighting)

    def check(self, sighting: Sighting) -> tuple[list[Hit], int]:
        """After it was saved and its vectors stored: its hits, which are in the spool, and how many others were dropped
        there for want of room."""
        if not self.watched.lists:
            return [], 0
        hits, dropped = self.watched.hits(sighting), 0
        for hit in hits:
            content = hit_to_json(hit, self._crop(sighting))
            dropped += self.spool.put(hit.id, content, seen=sighting.end or sighting.start or 0.0)
        self.spool.done(sighting.id)
        return hits, dropped

    def finish(self) -> list[Hit]:
        """What a killed process has begun is compared now, if it was saved; returns the hits that it gave."""
        found: list[Hit] = []
        for name in self.spool.begun():
            sighting = self.watched.gallery.find(name)
            if sighting is None:
                self.spool.done(name)
                continue
            if self.watched.index is not None:
                self.watched.index.add(sighting)
            found += self.check(sighting)[0]
        return found

    def _crop(self, sighting: Sighting) -> Image.Image | None:
        best = max(range(len(sighting.crops)), key=lambda number: sighting.crops[number].quality)
        try:
            path: Path = self.watched.gallery.crop_paths(sighting)[best]
            return load_image(path)
        except (ReIDError, OSError):  # somebody has deleted or moved it meanwhile
            return None


def known_lists(lists: Sequence[WatchList], gallery: Gallery, *, embeds: bool, file: Path) -> tuple[WatchList, ...]:
    """The lists with the names that vehicles have in the gallery. ReIDError: one is not there, or nothing embeds."""
    known = []
    for one in lists:
        if one.vehicles and not embeds:
            raise ReIDError(
                f"{file}: watch list {one.name}: vehicles are compared by a model, and bundle is null; name one, such "
                "as bundle=latest, or watch plates alone."
            )
        try:
            names = tuple(dict.fromkeys(known_vehicle(gallery, name) for name in one.vehicles))
        except ReIDError as error:
            raise ReIDError(f"{file}: watch list {one.name}: {error}") from error
        known.append(WatchList(one.name, one.plates, names, min_score=one.min_score, cameras=one.cameras))
    return tuple(known)


def _plate(text: str) -> str | None:
    try:
        return plate_name(text)
    except ReIDError:
        return None
