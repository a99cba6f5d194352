"""Embeddings that are larger than memory: one matrix out of many, in a file that the system reads where it is used."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

_IN_MEMORY = 1 << 28  # bytes


def stacked(parts: Sequence[Tensor], folder: Path) -> Tensor:
    """`torch.cat` of matrices (pictures, dim), which may themselves be mapped.

    Beyond 256 MiB its numbers lie in a file without a name, in `folder` or, where that has no room, in the system's
    folder for such files ($TMPDIR). It is gone with the tensor, or with the process however that ends.

    Raises:
        OSError: there is room in neither.
    """
    if len(parts) == 1:
        return parts[0]
    if sum(part.nbytes for part in parts) <= _IN_MEMORY:
        return torch.cat(list(parts))
    try:
        return _in_file(parts, folder)
    except OSError:
        return _in_file(parts, None)


def _in_file(parts: Sequence[Tensor], folder: Path | None) -> Tensor:
    dtype = reduce(torch.promote_types, [part.dtype for part in parts])
    with tempfile.TemporaryFile(dir=folder) as file:
        for part in parts:
            file.write(part.to(dtype).contiguous().view(torch.uint8).numpy().data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch wants to be able to write
    return torch.frombuffer(mapped, dtype=dtype).view(-1, parts[0].shape[1])
