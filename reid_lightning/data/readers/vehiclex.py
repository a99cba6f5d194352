"""VehicleX: rendered vehicles for training, as AI City's simulation set or as its authors' own adapted pictures.

Yao et al., "Simulating Content Consistent Vehicle Datasets with Attribute Descent", ECCV 2020.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.layout import data_folder, picture_names
from reid_lightning.data.readers.splits import query_gallery, split_by_identity
from reid_lightning.data.readers.veri import records
from reid_lightning.data.records import VehicleDataset

_FOLDERS = ("image_train", "sys_image_train")


def read_vehiclex(
    *,
    root: Path | str,
    test_fraction: float = 0.0,
    seed: int = 0,
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read the pictures of `root/image_train/` (AI City 2020), of `root/sys_image_train/` (2021), or of `root` itself
    where there is neither; their names are `<identity>_c<camera>_...`, such as 0001_c001_33.jpg.

    The set has no protocol: it is for training, beside real pictures (`data=joined`). With a `test_fraction` this
    share of the identities, drawn by `seed`, is held out, and their pictures become query and gallery as in
    `splits.query_gallery`.

    Raises `ReIDError` for a folder without pictures, other names, and, as `on_bad_image` says, for unreadable pictures.
    """
    root = data_folder(root, needed=(), name="VehicleX")
    folder = next((root / name for name in _FOLDERS if (root / name).is_dir()), root)
    found = picture_names(folder)
    images = records(found.names, folder=folder)
    train, test = split_by_identity(images, test_fraction=test_fraction, seed=seed)
    query, gallery = query_gallery(test)
    dataset = VehicleDataset("vehiclex", train, query, gallery, passed_over=found.reported())
    return check_images(dataset, on_bad_image=on_bad_image)
