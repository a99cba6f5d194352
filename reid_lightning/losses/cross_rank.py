"""Lets a loss that compares pictures see those of all ranks, with the gradient of a single process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx, once_differentiable


def gather_across_ranks(tensor: Tensor) -> Tensor:
    """The tensors of all ranks, one after the other by rank: (batch, ...) to (ranks * batch, ...).

    Every rank must bring the same shape. In a single process the tensor itself is returned.

    Why the gradient is exact: let L be the loss on the gathered batch, which every one of the W ranks computes, and e_r
    the slice that came from rank r. Backward sums the gradients that arrive for e_r from all ranks, W dL/de_r, and rank
    r's parameter gradient is W dL/de_r de_r/dw. DDP averages over ranks: 1/W sum_r W dL/de_r de_r/dw = dL/dw, which is
    the gradient of one process holding the whole batch. Without the sum DDP would leave dL/dw / W; with gathered
    tensors that carry no gradient only the anchors' own side would learn.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]
