"""torch data sets over records: training pictures by draw, evaluated pictures by row, both as whole batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from reid_lightning.data.batches.batch import TARGETS, Batch, Draw
from reid_lightning.data.records import Split

_T = TypeVar("_T")


Numbering = Mapping[str, Mapping[str, int]]
"""By target, names to the numbers that a network learns with; names it does not list are -1."""


def numbering_of(train: Split) -> dict[str, Mapping[str, int]]:
    """The sorted names of the training pictures, from 0."""
    names = {target: {getattr(image, target) for image in train} - {None} for target in TARGETS}
    return {target: {name: number for number, name in enumerate(sorted(found))} for target, found in names.items()}


class PictureDataset(Dataset[Batch]):
    """Pictures of one split. A loader asks for a whole batch at once (`__getitems__`), with `collate_fn=whole_batch`.

    Args:
        images: the records.
        load: in training (path, key) -> uint8 (H, W, 3), asked for by `Draw`; else path -> the same, asked for by row.
        numbering: of the targets.
    """

    def __init__(self, images: Split, load: Callable[..., Tensor], *, numbering: Numbering) -> None:
        self.images = images
        self.load = load
        self.targets = {
            target: [numbering.get(target, {}).get(getattr(image, target), -1) for image in images]
            for target in TARGETS
        }

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, asked: Sequence[Draw] | Sequence[int]) -> Batch:
        rows = [one.position if isinstance(one, Draw) else one for one in asked]
        keys = [(one.key,) if isinstance(one, Draw) else () for one in asked]
        pictures = [self.load(self.images[row].path, *key) for row, key in zip(rows, keys, strict=True)]
        targets = {target: torch.tensor([numbers[row] for row in rows]) for target, numbers in self.targets.items()}
        return Batch(_stacked(pictures), torch.tensor(rows), targets)


def _stacked(pictures: list[Tensor]) -> Tensor:
    """(B, H, W, 3); a worker's go to shared memory, in the training process numpy is the faster of the two."""
    if get_worker_info() is not None:
        return default_collate(pictures)
    return torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))


def whole_batch(batch: _T) -> _T:
    """The collate function: there is nothing left to collate."""
    return batch
