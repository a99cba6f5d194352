"""Gradient accumulation: what a batch counts in the mean over the batches of one optimiser step."""

from __future__ import annotations


def last_step_factor(batch_index: int, *, batches: int | float, accumulate: int) -> float:
    """Times this, the loss of a batch counts as much in its optimiser step as every other loss.

    With `trainer.accumulate_grad_batches` = n the trainer divides each loss by n, also in the last step of an epoch of
    m batches, which is left with m mod n: its gradient would be short by that share. The factor is n / (m mod n) for
    those, else 1.

    Args:
        batch_index: 0-based, in the epoch.
        batches: of the epoch, m; inf where that is not known.
        accumulate: n.
    """
    first = batch_index - batch_index % accumulate
    return accumulate / min(accumulate, batches - first)
