"""torch data sets over records: training pictures by draw, evaluated pictures by row, both as whole batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from reid_lightning.data.batch import Batch, Draw
from reid_lightning.data.records import Split


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
            *(
                {name: number for number, name in enumerate(sorted(names - {None}))}
                for names in (
                    {image.identity for image in train},
                    {image.camera for image in train},
                    {image.viewpoint for image in train},
                )
            )
        )


class PictureDataset(Dataset[Batch]):
    """Pictures of one split. A loader asks for a whole batch at once (`__getitems__`), with `collate_fn=whole_batch`.

    Args:
        images: the records.
        load: in training (path, key) -> uint8 (H, W, 3), asked for by `Draw`; else path -> the same, asked for by row.
        numbering: labels, cameras and viewpoints. Identities that it does not list have the label -1.
    """

    def __init__(
        self, images: Split, load: Callable[[Path, int], Tensor] | Callable[[Path], Tensor], *, numbering: Numbering
    ) -> None:
        self.images = images
        self.load = load
        self.labels = [numbering.identities.get(image.identity, -1) for image in images]
        self.cameras = [numbering.cameras.get(image.camera, -1) for image in images]
        self.viewpoints = [numbering.viewpoints.get(image.viewpoint, -1) for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, asked: Sequence[Draw] | Sequence[int]) -> Batch:
        if isinstance(asked[0], Draw):
            rows = [draw.position for draw in asked]
            pictures = [self.load(self.images[draw.position].path, draw.key) for draw in asked]
        else:
            rows = list(asked)
            pictures = [self.load(self.images[row].path) for row in asked]
        numbers = [[column[row] for row in rows] for column in (self.labels, self.cameras, self.viewpoints)]
        labels, cameras, viewpoints = map(torch.tensor, numbers)
        return Batch(_stacked(pictures), labels, torch.tensor(rows), cameras, viewpoints)


def _stacked(pictures: list[Tensor]) -> Tensor:
    """(B, H, W, 3); a worker's go to shared memory, in the training process numpy is the faster of the two."""
    if get_worker_info() is not None:
        return default_collate(pictures)
    return torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))


def whole_batch(batch: Batch) -> Batch:
    """The collate function: there is nothing left to collate."""
    return batch
