"""Where a process stands among the ranks, and whether the machine has what the trainer asks for."""

from __future__ import annotations

import os

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from reid_lightning.errors import ReIDError


def is_rank_zero() -> bool:
    """Whether this process writes files and prints: true outside distributed runs and on global rank zero.

    torchrun says RANK, and may give 0 to a machine whose other numbers are not."""
    if rank := os.environ.get("RANK"):
        return int(rank) == 0
    return all(int(os.environ.get(name, "0") or 0) == 0 for name in ("NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))


def check_run_dir() -> None:
    """ReIDError when several processes were started from outside without one folder for all of them: each would make
    its own from the time at which it started."""
    started = max(int(os.environ.get(name, "1") or 1) for name in ("WORLD_SIZE", "SLURM_NTASKS"))
    outside = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_PROCID" in os.environ
    named = any(override.startswith("hydra.run.dir=") for override in HydraConfig.get().overrides.hydra)
    if outside and started > 1 and not named and HydraConfig.get().mode == RunMode.RUN:
        raise ReIDError(
            f"{started} processes were started by torchrun or srun, and each would write to a folder of its own. Name "
            "one for all, on a disk that all machines see: hydra.run.dir=runs/train/<name>."
        )


def check_accelerator(accelerator: str, devices: int | str | list[int]) -> None:
    """ReIDError when `trainer.accelerator` asks for a GPU that is not there, or for more of them than there are."""
    if accelerator not in ("gpu", "cuda"):
        return
    mps = accelerator == "gpu" and torch.backends.mps.is_available()
    if not torch.cuda.is_available() and not mps:
        raise ReIDError(
            f"trainer.accelerator is {accelerator!r}, but torch sees no GPU on this machine. Use trainer=cpu or "
            "trainer=auto; if there is a GPU, check its driver and that torch is a GPU build."
        )
    count = 1 if mps else torch.cuda.device_count()
    if isinstance(devices, int) and devices > count:
        raise ReIDError(f"trainer.devices is {devices}, but this machine has {count} GPU(s).")
