"""What one release does with a gallery in upgrade.py: run by path, with the release's folder on PYTHONPATH.

python benchmarks/drills/upgrade_steps.py <step> <gallery> <store's URI>

Prints a line of JSON: what it did, and what it then finds. Only what releases have had for long is called.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.records import Crop, Filter, Sighting

SIGHTINGS, VEHICLES, DIM = 60, 12, 16
CAMERAS = ("north", "south")


def embed(pictures):
    """The colours of a picture's upper left corner, of length 1: (pictures, DIM)."""
    small = [np.asarray(one.convert("RGB").resize((4, 4)), np.float32).reshape(-1)[:DIM] - 127.5 for one in pictures]
    return np.stack(small) / np.linalg.norm(np.stack(small), axis=1, keepdims=True)


def picture(number: int) -> np.ndarray:
    """Of a sighting."""
    return np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def register(index: GalleryIndex, number: int, vehicle: str) -> None:
    """One sighting of a crop."""
    camera, crop = CAMERAS[number % 2], Crop("", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0)
    made = Sighting(f"{number:016x}", vehicle, camera, "f" * 16, "x", number, "car", "d", (crop,), start=1.0, end=2.0)
    index.gallery.add(made, [picture(number)])
    index.add(made)


def fill(index: GalleryIndex) -> None:
    """A gallery with something in its trash."""
    for number in range(SIGHTINGS):
        register(index, number, f"V{number % VEHICLES}")
    index.delete("V3", undoable=True)


def change(index: GalleryIndex) -> int:
    """Every kind of change; how many crops `sync` had to embed before."""
    embedded = index.sync().embedded
    index.rename("V1", "RENAMED")
    index.merge("V2", "V4")
    index.restore(index.gallery.trash()[0].id)
    register(index, SIGHTINGS, "NEW")
    return embedded


def sync(index: GalleryIndex) -> int:
    """How many crops had to be embedded."""
    return index.sync().embedded


def look(index: GalleryIndex) -> None:
    """Nothing but what is found."""


def found(index: GalleryIndex) -> dict[str, object]:
    """Vehicles, records and answers, in an order of their own."""
    queries = embed([Image.fromarray(picture(number)) for number in range(0, SIGHTINGS, 5)])
    filters = (Filter(), Filter(cameras=("north",)), Filter(vehicles=("V4", "V5")))
    answers = [index.store.search(queries, top_k=5, where=where) for where in filters]
    hits = [[[(hit.record.id, round(hit.score, 2)) for hit in one] for one in each] for each in answers]
    return {
        "vehicles": sorted((one.id, one.sightings) for one in index.gallery.vehicles()),
        "records": sorted((one.id, one.vehicle) for part in index.store.records() for one in part),
        "hits": hits,
        "problems": list(index.gallery.check()) + list(index.store.problems()),
    }


def main() -> None:
    """One step, and what is found."""
    step, root, uri = sys.argv[1:]
    index = GalleryIndex(Gallery(Path(root)), open_store(uri, fingerprint="drill", dim=DIM), embed)
    done = {"fill": fill, "change": change, "sync": sync, "look": look}[step](index)
    sys.stdout.write(json.dumps({"embedded": done, **found(index)}) + "\n")


if __name__ == "__main__":
    main()
