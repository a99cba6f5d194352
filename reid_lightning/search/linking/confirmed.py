"""Vehicles of a gallery that somebody vouches for, as a data set: by people's words, folders or plates, never by looks.

What a model has linked teaches no model anything; what people confirm does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.splits import Cameras, build_dataset
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError, count
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sighting_list import Seen, all_seen
from reid_lightning.search.linking.answers import Agreement, Answers
from reid_lightning.search.linking.evidence import is_sure
from reid_lightning.search.linking.links import named
from reid_lightning.search.records import UNKNOWN_TYPE


def confirmed_vehicles(gallery: GalleryReader) -> dict[str, list[Seen]]:
    """By name the sightings of each vehicle that somebody vouches for, those of one sighting included.

    Two sightings are one vehicle if a person said so, if a person has put them into one folder, or if the plates read
    of both are equal and sure; what was said first in this list holds. A sighting that nothing is said of is left out.
    """
    seen = {one.id: one for one in all_seen(gallery.locations.index)}
    words = Answers(gallery.root).words()
    kept = Agreement[str]()
    vouched = {name for pair in words.together for name in pair if name in seen}
    for pair in words.together:
        kept.join(*pair)
    for pair in words.apart:
        kept.part(*pair)
    for alike in (_by_folder(seen.values()), _by_plate(seen.values())):
        for group in alike:
            vouched.update(group)
            for one, other in pairwise(group):
                kept.join(one, other)
    groups: dict[str, list[Seen]] = {}
    for name in sorted(vouched):
        groups.setdefault(kept.root(name), []).append(seen[name])
    by_id = {one.id: one for group in groups.values() for one in group}
    return {vehicle.name: [by_id[one] for one in vehicle.sightings] for vehicle in named(list(groups.values()))}


def read_gallery(
    *,
    root: Path | str | Sequence[Path | str],
    min_sightings: int = 2,
    test_fraction: float = 0.5,
    seed: int = 0,
    fold: str | None = None,
    query_cameras: Cameras = None,
    gallery_cameras: Cameras = None,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """The confirmed vehicles of one gallery or several: a vehicle is an identity, a sighting a track.

    Args:
        root: the folder of a gallery, or several. Vehicles of several galleries are called `<gallery>/<vehicle>`.
        min_sightings: vehicles with fewer are left out.
        test_fraction: this, `seed`, `fold`, `query_cameras` and `gallery_cameras` divide the vehicles as
            `reid_lightning.data.readers.splits.build_dataset` says.
        on_bad_image: "error" names pictures that cannot be read, "skip" leaves them out.

    Raises:
        ReIDError: there is no such gallery, or fewer than two vehicles of it are confirmed.
    """
    folders = [Path(root)] if isinstance(root, str | Path) else [Path(one) for one in root]
    images: list[VehicleImage] = []
    vehicles = 0
    for folder in folders:
        if not folder.is_dir():
            raise ReIDError(f"data.root: there is no gallery at {folder} (seen from {Path.cwd()}).")
        gallery = GalleryReader(folder)
        for name, sightings in confirmed_vehicles(gallery).items():
            if len(sightings) < min_sightings:
                continue
            vehicles += 1
            identity = name if len(folders) == 1 else f"{folder.name}/{name}"
            images += [image for one in sightings for image in _pictures(gallery, one, identity)]
    if vehicles < 2:
        raise ReIDError(
            f"{', '.join(map(str, folders))}: {count(vehicles, 'vehicle')} of {min_sightings} sightings or more "
            f"{'is' if vehicles == 1 else 'are'} confirmed; expected 2, better dozens. Confirm more: reid review "
            "gallery=<folder>, reid gallery merge, or plates."
        )
    dataset = build_dataset(
        folders[0].name if len(folders) == 1 else f"{len(folders)} galleries",
        images,
        test_fraction=test_fraction,
        seed=seed,
        fold=fold,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )
    return check_images(dataset, on_bad_image=on_bad_image)


def _pictures(gallery: GalleryReader, one: Seen, identity: str) -> list[VehicleImage]:
    sighting = gallery.find(one.id)
    if sighting is None:
        found = [known for known in gallery.sightings_of(one.vehicle, on_problem=lambda _: None) if known.id == one.id]
        if not found:
            return []  # it has gone meanwhile
        (sighting,) = found
    kind = None if one.type == UNKNOWN_TYPE else one.type
    return [
        VehicleImage(path, identity, one.camera or None, one.id, type=kind) for path in gallery.crop_paths(sighting)
    ]


def _by_folder(seen: Iterable[Seen]) -> list[list[str]]:
    folders: dict[str, list[Seen]] = {}
    for one in seen:
        folders.setdefault(one.vehicle, []).append(one)
    return [[one.id for one in group] for group in folders.values() if any(one.placed for one in group)]


def _by_plate(seen: Iterable[Seen]) -> list[list[str]]:
    plates: dict[str, list[str]] = {}
    for one in seen:
        if is_sure(one):
            plates.setdefault(str(one.plate), []).append(one.id)
    return list(plates.values())
