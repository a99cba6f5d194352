"""Where a process stands among the ranks, and whether the machine has what the trainer asks for."""

from __future__ import annotations

import os

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from reid_lightning.errors import ReIDError


def is_rank_zero() -> bool:
    """Whether this process writes files and prints: true outside distributed runs and on global rank zero."""
    return all(int(os.environ.get(name, "0") or 0) == 0 for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"))


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


def check_not_sweeping(world_size: int) -> None:
    """ReIDError for a multirun with several processes a job: their child processes would start the sweep again."""
    if world_size > 1 and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ReIDError(
            f"a sweep (-m) with {world_size} processes a job is not supported yet. Sweep with one device, or start one "
            "distributed run for each choice."
        )


def best_device(name: str) -> str:
    """`auto` is the GPU when there is one, else the CPU; any other name is itself."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
