"""The reader `data=shards`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from reid_lightning.data.images.reading import check_images
from reid_lightning.data.packed_picture import close_shards
from reid_lightning.data.readers.layout import data_folder
from reid_lightning.data.records import VehicleDataset
from reid_lightning.data.shards.index import INDEX, load_index
from reid_lightning.errors import ReIDError


def read_shards(
    *, root: Path | str, verify: bool = True, on_bad_image: Literal["error", "skip"] = "error"
) -> VehicleDataset:
    """Read a folder of shards: the data set it was written of, with its name, order and protocol.

    `verify` reads every picture once and compares its checksum before anything starts. Without, only the index and the
    shards' sizes are looked at, which takes seconds for millions of pictures; a damaged one is then an error when its
    turn comes, because its checksum is compared at every reading.

    Raises `ReIDError`: no folder of shards, damaged or of another version, a shard missing or of another size, and, as
    `on_bad_image` says, pictures that cannot be read.
    """
    if on_bad_image == "skip" and not verify:
        raise ReIDError("data.on_bad_image=skip needs data.verify=true: bad pictures must be known to be left out.")
    folder = data_folder(root, needed=[INDEX], name="sharded")
    close_shards()
    dataset = load_index(folder)
    if not verify:
        return dataset
    parts = tuple(check_images(part, on_bad_image=on_bad_image) for part in dataset.parts)
    return check_images(replace(dataset, parts=parts), on_bad_image=on_bad_image)
