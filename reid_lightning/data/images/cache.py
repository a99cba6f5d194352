"""Decoded, resized pictures kept in memory that all workers of a loader share, up to a bound.

The second epoch then starts where decoding would have ended. Pictures do not depend on it: what is kept is what would
be read again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reid_lightning.data.records import PicturePath
from reid_lightning.errors import ReIDError

_SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps it; containers often allow 64 MiB


class PictureCache:
    """Room for as many of `paths` as the bound allows, spread evenly over them; the others are read each time.

    Works with workers that are forked or spawned, and best with persistent ones. Under DDP each rank has its own.

    Args:
        paths: the pictures that will be asked for; doubles count once.
        height, width: of the pictures when they are kept, uint8 (height, width, 3).
        limit_mib: most memory for pictures, in MiB. What they need of it is taken at once.

    Raises `ReIDError` when that much shared memory is not free.
    """

    def __init__(self, paths: Sequence[PicturePath], *, height: int, width: int, limit_mib: float) -> None:
        if not isinstance(limit_mib, int | float) or not limit_mib > 0:
            raise ReIDError(f"loader.cache_mib is {limit_mib!r}; expected MiB above 0, or null for no cache.")
        distinct = list(dict.fromkeys(paths))
        size = height * width * 3
        capacity = min(len(distinct), int(limit_mib * 2**20) // size)
        _check_room(capacity * size, limit_mib)
        slots = [place * capacity // max(1, len(distinct)) for place in range(len(distinct) + 1)]
        self._slots = {path: slots[place] for place, path in enumerate(distinct) if slots[place + 1] > slots[place]}
        self._pixels = _shared_zeros(capacity * size).view(capacity, height, width, 3)
        self._filled = _shared_zeros(capacity)

    def __len__(self) -> int:
        """Pictures kept so far."""
        return int(self._filled.sum())

    @property
    def capacity(self) -> int:
        """Pictures that have room."""
        return len(self._slots)

    def get(self, path: PicturePath, read: Callable[[PicturePath], np.ndarray]) -> np.ndarray:
        """uint8 (height, width, 3), from memory or from `read(path)`. It may be the shared memory: do not write to it.

        Two workers may read the same picture at once; both write the same bytes.
        """
        slot = self._slots.get(path)
        if slot is None:
            return read(path)
        kept = self._pixels[slot].numpy()
        if not self._filled[slot]:
            kept[:] = read(path)
            self._filled[slot] = 1  # last: whoever sees it finds the whole picture
        return kept


def _shared_zeros(size: int) -> Tensor:
    """uint8 (size,) in shared memory, without the copy that `share_memory_` makes: 3 s instead of 13 for 7 GiB."""
    if size == 0:
        return torch.zeros(0, dtype=torch.uint8)
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))


def _check_room(needed: int, limit_mib: float) -> None:
    if not _SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if needed > free:
        raise ReIDError(
            f"loader.cache_mib={limit_mib:g} would fill {needed >> 20:,} MiB of shared memory; {_SHARED_MEMORY} has "
            f"{free >> 20:,} MiB free. Lower loader.cache_mib, or allow more (docker run --shm-size=...)."
        )
