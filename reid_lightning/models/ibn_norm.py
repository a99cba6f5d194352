"""IBN's two norms in one pass over all channels, for a CPU, where torch's instance norm copies its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_POSITIONS = (2, 3)


def instance_batch_norm(
    maps: Tensor, weight: Tensor, bias: Tensor, *, instance: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (B, C, H, W): w (x - m) / sqrt(v + eps) + b, with mean m and variance v of each picture in the first
    `instance` channels and of the batch in the others; weight, bias: (C,).

    Also returns m and v of the batch's channels, (C - instance,) each, without a gradient. Differentiable once.
    """
    result: tuple[Tensor, Tensor, Tensor] = _InstanceBatchNorm.apply(maps, weight, bias, instance, eps)  # type: ignore[no-untyped-call]
    return result


def norm_with_known_statistics(
    maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, instance: int, eps: float
) -> Tensor:
    """The same with the batch's channels normalised by a known mean and variance, (C - instance,) each."""
    first = maps[:, :instance]
    means = first.mean(dim=_POSITIONS)
    variances = (first - means[:, :, None, None]).square().mean(dim=_POSITIONS)
    means = torch.cat((means, mean.expand(len(maps), -1)), dim=1)
    scale = (torch.cat((variances, variance.expand(len(maps), -1)), dim=1) + eps).rsqrt() * weight
    return torch.addcmul((bias - means * scale)[:, :, None, None], maps, scale[:, :, None, None])


class _InstanceBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, instance: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        means = maps.mean(dim=_POSITIONS, keepdim=True)  # (B, C, 1, 1)
        centred = maps - means
        variances = centred.square().mean(dim=_POSITIONS, keepdim=True)
        of_batch = means[:, instance:].mean(dim=0, keepdim=True)
        offsets = torch.zeros_like(means)  # of a picture's mean from that of the batch
        offsets[:, instance:] = means[:, instance:] - of_batch
        spread = (variances[:, instance:] + offsets[:, instance:].square()).mean(dim=0, keepdim=True)
        variances[:, instance:] = spread
        inverse = (variances + eps).rsqrt()
        scale = inverse * weight[:, None, None]
        ctx.save_for_backward(centred, offsets, inverse, weight)
        ctx.instance = instance
        statistics = of_batch.flatten(), spread.flatten()
        ctx.mark_non_differentiable(*statistics)
        return torch.addcmul(torch.addcmul(bias[:, None, None], offsets, scale), centred, scale), *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, offsets, inverse, weight = ctx.saved_tensors
        positions = grad.shape[2] * grad.shape[3]
        # Means over the positions of g and of g (x - m) / sqrt(v + eps), of each picture.
        ones = grad.mean(dim=_POSITIONS, keepdim=True)
        normed = inverse * ((grad * centred).mean(dim=_POSITIONS, keepdim=True) + offsets * ones)
        grad_weight, grad_bias = (each.sum(dim=(0, 2, 3)) * positions for each in (normed, ones))
        if ctx.needs_input_grad[0]:
            for each in (ones, normed):
                each[:, ctx.instance :] = each[:, ctx.instance :].mean(dim=0, keepdim=True)
            scale = inverse * weight[:, None, None]
            constant = -scale * (ones + offsets * inverse * normed)
            grad = torch.addcmul(torch.addcmul(constant, grad, scale), centred, -scale * inverse * normed)
        return grad, grad_weight, grad_bias, None, None
