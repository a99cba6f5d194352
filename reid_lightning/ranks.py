"""Where a process stands among the ranks of a run."""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Whether this process writes files and prints: true outside distributed runs and on global rank zero.

    torchrun says RANK, and may give 0 to a machine whose other numbers are not."""
    if rank := os.environ.get("RANK"):
        return int(rank) == 0
    return all(int(os.environ.get(name, "0") or 0) == 0 for name in ("NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))
