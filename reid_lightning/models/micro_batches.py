"""A batch through the network piece by piece, so that only one piece's activations are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from reid_lightning.errors import ReIDError
from reid_lightning.models.reid_model import ReIDOutput


def forward_in_pieces(model: nn.Module, *inputs: Tensor | None, pieces: int) -> ReIDOutput:
    """What `model(*inputs)` gives, a piece of the batch at a time: features and embeddings (batch, dim) of all pieces.

    A loss on the output compares all pictures of the batch. The backward pass computes each piece a second time, with
    the same random numbers, so that a batch costs the memory of one piece and a third more computing. Without batch
    norm the gradients are those of the whole batch at once. Batch norm sees a piece at a time: it normalises by the
    piece, and its running statistics move once for each piece.

    Args:
        inputs: (batch, ...) each, or None; the batch is a multiple of `pieces`.

    Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021 (GradCache),
    here by checkpointing the network as a whole.
    """
    if pieces == 1:
        return model(*inputs)
    batch = len(inputs[0])
    if pieces < 1 or batch % pieces:
        raise ReIDError(f"module.micro_batches is {pieces}; expected a divisor of the batch of {batch} pictures.")
    parts = zip(*(one.chunk(pieces) if one is not None else [None] * pieces for one in inputs), strict=True)
    outputs = [
        checkpoint(model, *part, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(model)))
        for part in parts
    ]
    return ReIDOutput(*map(torch.cat, zip(*outputs, strict=True)))


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards the buffers of batch norms are what they were. The norms run as always meanwhile, so that a compiled
    network repeats the very graph of its first pass."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    buffers = [buffer.data for norm in norms for buffer in norm.buffers()]  # autograd need not know of it
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        if buffers:
            torch._foreach_copy_(buffers, before)
