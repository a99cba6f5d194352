"""What is compared of data sets that were written as shards, and of the folders they were written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import VehicleDataset

PREPROCESSING = Preprocessing(32, 32)
SPLITS = ("train", "query", "gallery")


def contents(dataset: VehicleDataset) -> list:
    """Everything that training and evaluation see of a data set, with pictures as their bytes."""
    splits = [
        [(replace(image, path=None), image.path.read_bytes()) for image in getattr(dataset, split)] for split in SPLITS
    ]
    parts = [contents(part) for part in dataset.parts]
    return [dataset.name, splits, dataset.gt_index, dataset.jk_index, dataset.gallery_draws, parts]


def left_in(folder: Path) -> list[str]:
    """Names in a folder, but for the locks that writers leave."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
