"""Folders as Market-1501 has them, which many data sets are handed round in: training, query and test pictures with
identity and camera in their names.

Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.files import PictureFiles
from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.layout import data_folder, picture_names
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import name_of_file, readable

JUNK = "-1"
"""The identity of pictures that count neither as right nor as wrong."""

_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
_NAME = re.compile(r"(?P<identity>-1|[^_\s-][^_\s]*)_(?P<camera>c\d+)(?:s\d+)?[_.].*")


def read_market1501(*, root: Path | str, on_bad_image: Literal["error", "skip"] = "error") -> VehicleDataset:
    """Read `bounding_box_train/`, `query/` and `bounding_box_test/` (the gallery) below `root`.

    Names are `<identity>_c<camera>s<sequence>_...`, such as 0002_c1s1_000451_03.jpg; the sequence may be missing.
    Junk, pictures of identity -1, is left out, which is what ranking it and not counting it comes to. Distractors,
    Market-1501's identity 0000, stay in the gallery: they are no query's vehicle. The data set is called by its folder.

    Raises `ReIDError` for another layout, other names, and, as `on_bad_image` says, for unreadable pictures.
    """
    root = data_folder(root, needed=[f"{folder}/" for folder in _FOLDERS], name="Market-1501-style")
    found = [picture_names(root / folder) for folder in _FOLDERS]
    train, query, gallery = map(_named, found)
    passed_over = tuple(line for files in found for line in files.reported())
    dataset = VehicleDataset(readable(root.resolve().name), train, query, gallery, passed_over=passed_over)
    return check_images(dataset, on_bad_image=on_bad_image)


def _named(files: PictureFiles) -> Split:
    folder, images = files.folder, []
    for name in files.names:
        match = _NAME.fullmatch(name_of_file(name))
        if match is None:
            raise ReIDError(
                f"The picture {name!r} of {folder} is not named <identity>_c<camera>s<sequence>_..., such as "
                "0002_c1s1_000451_03.jpg. Rename it, or read these pictures with data=folder and a pattern of your own."
            )
        if match["identity"] != JUNK:
            images.append(VehicleImage(folder / name, match["identity"], match["camera"]))
    if not images:
        raise ReIDError(f"{folder} holds only junk (identity {JUNK}); fetch the data set again.")
    return tuple(images)
