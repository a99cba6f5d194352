"""VRIC, Vehicle Re-Identification in Context: small, blurred crops of traffic videos, one probe and one gallery picture
of each test vehicle.

Kanaci, Zhu and Gong, "Vehicle Re-Identification in Context", GCPR 2018; the videos are UA-DETRAC's.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.readers.layout import data_folder, matched_lines
from reid_lightning.data.records import Split, VehicleDataset, VehicleImage
from reid_lightning.untrusted.names import stored_path

_PARTS = ("train", "probe", "gallery")
_LINE = re.compile(r"(?P<picture>[\w-]+\.\w+)\s+(?P<identity>[\w-]+)\s+(?P<camera>[\w-]+)")
_EXAMPLE = "MVI_20011_016_img00105.jpg 15 1"


def read_vric(*, root: Path | str, on_bad_image: Literal["error", "skip"] = "error") -> VehicleDataset:
    """Read the VRIC folder at `root`: `train_images/`, `probe_images/` and `gallery_images/` with their lists
    `vric_train.txt`, `vric_probe.txt` and `vric_gallery.txt` (picture, identity, camera).

    Probes are the queries, both lists are taken as they are. With one right answer for each query mAP is the mean
    reciprocal rank, and no mAP of data sets with several.

    Raises `ReIDError` for another layout, malformed lines, and, as `on_bad_image` says, for unreadable or missing
    pictures.
    """
    needed = [name for part in _PARTS for name in (f"{part}_images/", f"vric_{part}.txt")]
    root = data_folder(root, needed=needed, name="VRIC")
    train, query, gallery = (_listed(root / f"vric_{part}.txt", root / f"{part}_images") for part in _PARTS)
    return check_images(VehicleDataset("vric", train, query, gallery), on_bad_image=on_bad_image)


def _listed(path: Path, folder: Path) -> Split:
    matches = (match for _, match in matched_lines(path, _LINE, example=_EXAMPLE))
    return tuple(
        VehicleImage(stored_path(folder, match["picture"]), match["identity"], match["camera"]) for match in matches
    )
