"""Matrix products of embeddings, and roots, in full precision, and at full speed on every processor.

A rank must not depend on a training switch (autocast, `torch.set_float32_matmul_precision`), nor its cost on who made
the processor: on AMD's, torch's MKL takes 1.6 times as long for large matrices as numpy's OpenBLAS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def product(rows: Tensor, columns: Tensor, *, out: Tensor | None = None) -> Tensor:
    """rows (rows, dim) times columns (columns, dim) transposed: (rows, columns).

    Both float32 or both float64 and without gradients; not rounded to TF32 or bfloat16. On the CPU numpy multiplies,
    whose threads are those of OPENBLAS_NUM_THREADS or OMP_NUM_THREADS.
    """
    if rows.device.type != "cpu":
        with full_precision(rows.device):
            return torch.mm(rows, columns.T, out=out)
    if out is None:
        out = empty_matrix(len(rows), len(columns), like=rows)
    np.dot(rows.numpy(), columns.numpy().T, out=out.numpy())
    return out


def empty_matrix(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """(rows, columns) of any numbers, of the type and on the device of `like`.

    On the CPU it is numpy's: Linux gives its large arrays huge pages, which are filled in a third of the time.
    """
    if like.device.type != "cpu":
        return like.new_empty(rows, columns)
    return torch.from_numpy(np.empty((rows, columns), like.new_empty(0).numpy().dtype))


def square_root_(values: Tensor) -> Tensor:
    """The roots of `values`, at least 0, in their place, as IEEE 754 rounds them.

    torch's MKL does not on Intel's processors: it gives 1.414213562373095 for 2.
    """
    if values.device.type != "cpu":
        return values.sqrt_()
    np.sqrt(values.numpy(), out=values.numpy())
    return values


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within it torch rounds no product to TF32 or bfloat16."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
