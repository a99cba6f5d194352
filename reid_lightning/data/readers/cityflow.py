"""CityFlow-ReID, the vehicle re-identification track of the AI City Challenge (2019 to 2022).

Tang et al., "CityFlow: A City-Scale Benchmark for Multi-Target Multi-Camera Vehicle Tracking and Re-Identification",
CVPR 2019. The labels of its test pictures are not public, so whoever evaluates holds training identities out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.label_xml import read_items
from reid_lightning.data.readers.layout import data_folder, text_lines
from reid_lightning.data.readers.splits import query_gallery, split_by_identity
from reid_lightning.data.readers.veri import read_tracks
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import stored_path

_PICTURE = re.compile(r"[\w-]+\.\w+")
_ITEM = '<Item imageName="000001.jpg" vehicleID="0001" cameraID="c001"/>'


def read_cityflow(
    *,
    root: Path | str,
    test_identities: str | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read the labelled pictures below `root`: `image_train/` and `train_label.xml`, and, where present, tracks from
    `train_track.txt`. `image_query/` and `image_test/` carry no labels and are not read.

    Held out for query and gallery are the identities that `test_identities`, a text file below `root`, names a line
    each; or else `test_fraction` of them, drawn by `seed`. `splits.query_gallery` divides their pictures: the first of
    each identity and camera is a query, all are the gallery. With `test_fraction=0` everything is for training.

    Raises `ReIDError` for another layout, labels that miss an identity or a camera, unknown identities, and, as
    `on_bad_image` says, for unreadable or missing pictures.
    """
    root = data_folder(root, needed=("image_train/", "train_label.xml"), name="CityFlow-ReID")
    tracks = read_tracks(root / "train_track.txt") if (root / "train_track.txt").exists() else {}
    images = []
    for item in read_items(root / "train_label.xml"):
        name, identity, camera = (item.get(key, "") for key in ("imageName", "vehicleID", "cameraID"))
        if not (_PICTURE.fullmatch(name) and identity and camera):
            raise ReIDError(f"{root / 'train_label.xml'}: an item has the attributes {item}; expected {_ITEM}.")
        images.append(VehicleImage(stored_path(root / "image_train", name), identity, camera, tracks.get(name)))
    if not images:
        raise ReIDError(f"{root / 'train_label.xml'} has no <Item>; expected {_ITEM} for each picture.")
    if test_identities is None:
        train, test = split_by_identity(images, test_fraction=test_fraction, seed=seed)
    else:
        train, test = _held_out(images, root / test_identities)
    query, gallery = query_gallery(test)
    return check_images(VehicleDataset("cityflow", train, query, gallery), on_bad_image=on_bad_image)


def _held_out(images: Sequence[VehicleImage], path: Path) -> tuple[Split, Split]:
    """(train, test): the test pictures are those of the identities in `path`."""
    known = {image.identity for image in images}
    chosen = set()
    for number, identity in text_lines(path, key="data.test_identities"):
        if identity not in known:
            raise ReIDError(
                f"{path}, line {number}: {identity!r} is not a vehicleID of train_label.xml; expected one such as "
                f"{min(known)!r} a line."
            )
        chosen.add(identity)
    return (
        tuple(image for image in images if image.identity not in chosen),
        tuple(image for image in images if image.identity in chosen),
    )
