"""VERI-Wild: pictures in a folder for each identity, lists of three test sizes, and a table of cameras and attributes.

Lou et al., "VERI-Wild: A Large Dataset and a New Method for Vehicle Re-Identification in the Wild", CVPR 2019.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.layout import check_choice, data_folder, matched_lines, text_lines
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.untrusted.names import stored_path

SIZES = {"small": 3000, "medium": 5000, "large": 10000}

_LINE = re.compile(r"(?P<identity>[\w-]+)/(?P<picture>[\w-]+)(?:\.jpg)?")
_EXAMPLE = "00001/000012"
_HEADER = "id/image;Camera ID;Time;Model;Type;Color"
_INFO = "train_test_split/vehicle_info.txt"

Info = Mapping[tuple[str, str], tuple[str, str | None, str | None]]
"""(identity, picture) -> (camera, colour, type)."""


def read_veri_wild(
    *,
    root: Path | str,
    split: Literal["small", "medium", "large"] = "small",
    on_bad_image: Literal["error", "skip"] = "error",
) -> VehicleDataset:
    """Read the VERI-Wild folder at `root`: `images/<identity>/<picture>.jpg` and, in `train_test_split/`,
    `train_list.txt`, `test_<size>.txt` (gallery), `test_<size>_query.txt` and `vehicle_info.txt`.

    The gallery's pictures of the query's identity and camera are junk, as in the owners' own figures.

    Raises `ReIDError` for another layout, an unknown split, malformed lines, pictures that `vehicle_info.txt` does not
    know, and, as `on_bad_image` says, for unreadable or missing pictures.
    """
    check_choice("split", split, tuple(SIZES))
    size = SIZES[split]
    lists = [f"train_test_split/{name}.txt" for name in ("train_list", f"test_{size}_query", f"test_{size}")]
    root = data_folder(root, needed=("images/", *lists, _INFO), name="VERI-Wild")
    info = read_vehicle_info(root / _INFO)
    train, query, gallery = (_listed(root / name, root / "images", info) for name in lists)
    dataset = VehicleDataset(f"veri_wild-{split}", train, query, gallery)
    return check_images(dataset, on_bad_image=on_bad_image)


def read_vehicle_info(path: Path) -> Info:
    """The table behind its header, columns found by their names in any order; an empty colour or type is None."""
    (_, header), *lines = text_lines(path)
    names = [name.strip().lower() for name in header.split(";")]
    try:
        picture, camera, kind, colour = (names.index(name) for name in ("id/image", "camera id", "type", "color"))
    except ValueError as error:
        raise ReIDError(f"{path}, line 1: the header is {header[:80]!r}; expected {_HEADER!r}.") from error
    info: dict[tuple[str, str], tuple[str, str | None, str | None]] = {}
    for number, line in lines:
        values = [value.strip() for value in line.split(";")]
        match = _LINE.fullmatch(values[picture]) if len(values) == len(names) else None
        if match is None or not values[camera]:
            raise ReIDError(f"{path}, line {number}: {line[:80]!r}; expected {_HEADER}, with id/image and Camera ID.")
        info[match["identity"], match["picture"]] = values[camera], values[colour] or None, values[kind] or None
    return info


def _listed(path: Path, folder: Path, info: Info) -> Split:
    images = []
    for number, match in matched_lines(path, _LINE, example=_EXAMPLE):
        identity, picture = match.groups()
        if (identity, picture) not in info:
            raise ReIDError(
                f"{path}, line {number}: {identity}/{picture} is not in {_INFO}, so its camera is unknown. Use the "
                "lists and the table of one release."
            )
        camera, colour, kind = info[identity, picture]
        file = stored_path(folder, f"{identity}/{picture}.jpg")
        images.append(VehicleImage(file, identity, camera, colour=colour, type=kind))
    return tuple(images)
