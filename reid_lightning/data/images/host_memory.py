"""Memory of the CPU for finished batches, used again once nothing needs the batch before.

A fresh batch (50 MB at 64 x 256 x 256) costs the kernel as much as decoding a dozen pictures, in pages to be cleared.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
import torch
from torch import Tensor

_HOLDERS = 3  # of a block that no tensor uses: the thread's variable, the local one, and the argument of getrefcount


class _Block(threading.local):
    array = np.empty((0, 0), np.float32)


_last = _Block()


def batch_memory(rows: int, columns: int) -> Tensor:
    """float32 (rows, columns), not initialised: the block of this thread's last call if it has that shape and is free.

    A tensor on numpy's memory keeps a reference to it for as long as anything (a view, an autograd graph) shares its
    storage, so the count of references says whether the block is free. numpy also asks for huge pages, torch does not.
    """
    array = _last.array
    if array.shape != (rows, columns) or sys.getrefcount(array) > _HOLDERS:
        array = _last.array = np.empty((rows, columns), np.float32)
    return torch.from_numpy(array)
