"""Memory of the CPU for finished batches, used again once nothing needs the batch before.

A fresh batch (50 MB at 64 x 256 x 256) costs the kernel as much as decoding a dozen pictures, in pages to be cleared.
"""

from __future__ import annotations

import threading
import weakref

import numpy as np
import torch
from torch import Tensor


class _Free(threading.local):
    """Blocks of one shape that nothing uses; they come back here from whatever thread uses them last."""

    def __init__(self) -> None:
        self.shape = (0, 0)
        self.blocks: list[np.ndarray] = []


_free = _Free()


def batch_memory(rows: int, columns: int) -> Tensor:
    """float32 (rows, columns), not initialised: a block of an earlier call of this thread if one of that shape is free.

    The tensor is on a numpy view, which lives for as long as anything (another view, an autograd graph) shares its
    storage, and gives the block back when it goes. numpy also asks for huge pages, torch does not.
    """
    if _free.shape != (rows, columns):
        _free.shape, _free.blocks = (rows, columns), []
    blocks = _free.blocks
    block = blocks.pop() if blocks else np.empty((rows, columns), np.float32)
    view = block[:]
    weakref.finalize(view, blocks.append, block).atexit = False
    return torch.from_numpy(view)
