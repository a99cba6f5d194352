"""W&B that works with and without a key or a network."""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from pathlib import Path

import wandb
from pytorch_lightning.loggers import Logger, WandbLogger

_HOST = "api.wandb.ai"


def wandb_logger(
    *, save_dir: str | Path, project: str, name: str | None, group: str | None, offline: bool | None = None
) -> WandbLogger:
    """A W&B logger. `offline` None: online when a key is configured (WANDB_API_KEY or `wandb login`), else offline."""
    if offline is None:
        offline = os.environ.get("WANDB_MODE") == "offline" or not has_wandb_key()
    return WandbLogger(save_dir=str(save_dir), project=project, name=name, group=group, offline=offline)


def finish_wandb(loggers: Sequence[Logger]) -> None:
    """Close the W&B run, so that the next job of a sweep starts one of its own."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish()


def has_wandb_key() -> bool:
    """Whether a key is in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(os.environ.get("WANDB_BASE_URL", _HOST).split("//")[-1]) is not None
    except (OSError, netrc.NetrcParseError):
        return False
