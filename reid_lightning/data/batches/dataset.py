"""torch data sets over records: training pictures by draw, evaluated pictures by row, both as whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from reid_lightning.data.batches.batch import Batch, Draw
from reid_lightning.data.records import Split

_T = TypeVar("_T")


@dataclass(frozen=True)
class Numbering:
    """Names to the numbers that a network learns with; names it does not list are -1."""

    identities: Mapping[str, int] = field(default_factory=dict)
    cameras: Mapping[str, int] = field(default_factory=dict)
    viewpoints: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, train: Split) -> Numbering:
        """The sorted names of the training pictures, from 0."""
        return cls(
            _numbered(image.identity for image in train),
            _numbered(image.camera for image in train),
            _numbered(image.viewpoint for image in train),
        )


class PictureDataset(Dataset[Batch]):
    """Pictures of one split. A loader asks for a whole batch at once (`__getitems__`), with `collate_fn=whole_batch`.

    Args:
        images: the records.
        load: in training (path, key) -> uint8 (H, W, 3), asked for by `Draw`; else path -> the same, asked for by row.
        numbering: labels, cameras and viewpoints. Identities that it does not list have the label -1.
    """

    def __init__(self, images: Split, load: Callable[..., Tensor], *, numbering: Numbering) -> None:
        self.images = images
        self.load = load
        self.labels = [_number(numbering.identities, image.identity) for image in images]
        self.cameras = [_number(numbering.cameras, image.camera) for image in images]
        self.viewpoints = [_number(numbering.viewpoints, image.viewpoint) for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, asked: Sequence[Draw] | Sequence[int]) -> Batch:
        rows = [one.position if isinstance(one, Draw) else one for one in asked]
        keys = [(one.key,) if isinstance(one, Draw) else () for one in asked]
        pictures = [self.load(self.images[row].path, *key) for row, key in zip(rows, keys, strict=True)]
        numbers = [[column[row] for row in rows] for column in (self.labels, self.cameras, self.viewpoints)]
        labels, cameras, viewpoints = map(torch.tensor, numbers)
        return Batch(_stacked(pictures), labels, torch.tensor(rows), cameras, viewpoints)


def _numbered(names: Iterable[str | None]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted({name for name in names if name is not None}))}


def _number(numbers: Mapping[str, int], name: str | None) -> int:
    return -1 if name is None else numbers.get(name, -1)


def _stacked(pictures: list[Tensor]) -> Tensor:
    """(B, H, W, 3); a worker's go to shared memory, in the training process numpy is the faster of the two."""
    if get_worker_info() is not None:
        return default_collate(pictures)
    return torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))


def whole_batch(batch: _T) -> _T:
    """The collate function: there is nothing left to collate."""
    return batch
