"""What a vehicle that is being registered may be: one that looks like it, or one whose plate is nearly the same."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from reid_lightning.search.gallery import GalleryIndex
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sighting_list import plates_near
from reid_lightning.search.gallery.vehicle_folder import encode_crop
from reid_lightning.search.records import Hit, Sighting

_HITS = 64  # pictures asked for with each picture


@dataclass(frozen=True)
class Hints:
    """Looks into a gallery, and into its vectors if there are any."""

    gallery: GalleryReader
    index: GalleryIndex | None = None

    def of(self, sighting: Sighting, vectors: np.ndarray | None) -> Sighting:
        """The sighting, with what it may be: without a plate the vehicle that it looks like most, with one the plate
        that is nearly the same. Of a vehicle that a person has named nothing is said.

        Args:
            sighting: not in the gallery yet.
            vectors: (crops, dim) of length 1; None: nothing is said of its looks.
        """
        if sighting.plate is not None:
            near = next(iter(plates_near(self.gallery.locations.index, sighting.plate, most=1)), None)
            return (
                sighting if near is None else replace(sighting, near_plate=near[0], near_plate_camera=near[1] or None)
            )
        if vectors is None or self.index is None:
            return sighting
        hits = self.index.store.search(vectors, top_k=_HITS)
        best = most_alike([[hit for hit in found if hit.record.sighting != sighting.id] for found in hits])
        if best is None:
            return sighting
        return replace(sighting, looks_like=best[0], looks_like_score=round(min(max(best[1], -1.0), 1.0), 4))

    def vectors_of(self, sighting: str, pictures: Sequence[np.ndarray]) -> np.ndarray | None:
        """(N, dim) of crops (height, width, 3) uint8 RGB as they will be stored; None: there is no model."""
        if self.index is None:
            return None
        stored = [Image.open(io.BytesIO(encode_crop(picture, sighting))).convert("RGB") for picture in pictures]
        return self.index.embedded(stored)


def most_alike(hits: Sequence[Sequence[Hit]]) -> tuple[str, float] | None:
    """The vehicle that most pictures are most like, and how much: 1 - MCD mean50 (arXiv 1910.09458) of the pictures to
    all of the vehicle's that were found; of equals the first by name. None: nothing was found.

    Args:
        hits: of each picture what was found, best first.
    """
    best: dict[str, list[float]] = {}
    for number, found in enumerate(hits):
        for hit in found:
            scores = best.setdefault(hit.record.vehicle, [-1.0] * len(hits))
            scores[number] = max(scores[number], hit.score)
    half = len(hits) // 2 + 1
    means = {vehicle: sum(sorted(scores, reverse=True)[:half]) / half for vehicle, scores in best.items()}
    return min(means.items(), key=lambda entry: (-entry[1], entry[0]), default=None)
