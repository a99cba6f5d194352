"""A batch through the network in micro-batches, so that the activations of only one are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from reid_lightning.errors import ReIDError
from reid_lightning.models.reid_model import ReIDOutput


def forward_in_micro_batches(model: nn.Module, *inputs: Tensor | None, micro_batches: int) -> ReIDOutput:
    """What `model(*inputs)` gives, a micro-batch at a time: features and embeddings (batch, dim) of all of them.

    A loss on the output compares all pictures of the batch. The backward pass computes each micro-batch a second time,
    with the same random numbers, so that a batch costs the memory of one and a third more computing. Without batch
    norm the gradients are those of the whole batch at once. Batch norm sees a micro-batch at a time: it normalises by
    it, and its running statistics move once for each.

    Args:
        inputs: (batch, ...) each, or None; the batch is a multiple of `micro_batches`.

    Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021 (GradCache),
    here by checkpointing the network as a whole.
    """
    if micro_batches == 1:
        return model(*inputs)
    first = inputs[0]
    assert first is not None, "the pictures"
    batch = len(first)
    if micro_batches < 1 or batch % micro_batches:
        raise ReIDError(
            f"module.micro_batches is {micro_batches}; expected a divisor of the batch of {batch} pictures."
        )
    parts = zip(
        *(one.chunk(micro_batches) if one is not None else [None] * micro_batches for one in inputs), strict=True
    )
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
