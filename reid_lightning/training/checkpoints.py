"""Checkpoints that are whole or not there, and which of them to go on from.

A run may be killed while it saves, and a disk may fill up: neither may cost the checkpoint that was there before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import nn

from reid_lightning.atomic import flush, flush_folder, is_alive
from reid_lightning.training.lightning_internals import settings_of

LAST_NAME = "last.ckpt"

_UNFINISHED = ".unfinished-"
_TOKEN = secrets.token_hex(4)  # tells this process from a killed one that had its number
_DAY = 86_400.0  # seconds
OF_SLURM = re.compile(r"hpc_ckpt_(\d+)\.ckpt")  # Lightning's name for what it saves before SLURM requeues the job
_log = logging.getLogger(__name__)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its name, forces it to the disk and renames it: a kill or a power cut at any moment
    leaves the old one or the new one.

    What a killed run left half-written goes at the next save, and of SLURM's numbered checkpoints the two latest stay.

    Args:
        keep_previous: names whose last version stays beside the new one, `last.ckpt` as `last.previous.ckpt`.
    """

    def __init__(self, *, keep_previous: Sequence[str] = (LAST_NAME,)) -> None:
        self.keep_previous = frozenset(keep_previous)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`; OSError with the path when the disk does not take it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path.parent)
        unfinished = path.with_name(_unfinished_name())
        try:
            _write(checkpoint, unfinished, name=path)
            if path.name in self.keep_previous and path.exists():
                _keep(path)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        flush_folder(path.parent)
        if (saved := OF_SLURM.fullmatch(path.name)) is not None:
            for other in path.parent.glob("hpc_ckpt_*.ckpt"):
                number = OF_SLURM.fullmatch(other.name)
                if number is not None and int(number[1]) < int(saved[1]) - 1:
                    other.unlink(missing_ok=True)


def previous_of(path: Path) -> Path:
    """Where the version of `path` before the newest is kept: `last.ckpt` -> `last.previous.ckpt`."""
    return path.with_suffix(f".previous{path.suffix}")


def _unfinished_name() -> str:
    """A name of this process alone: two runs that save into one folder must not write into one file."""
    return f"{_UNFINISHED}{os.getpid()}-{_TOKEN}-{socket.gethostname()}"


def _remove_left_over(folder: Path) -> None:
    """Remove what killed processes left half-written: of this machine at once, of another one when it is a day old."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        process, _, rest = left.name.removeprefix(_UNFINISHED).partition("-")
        token, _, host = rest.removesuffix("-link").partition("-")
        number = int(process) if process.isdecimal() and len(process) < 10 else 0
        ended = not is_alive(number) or (number == os.getpid() and token != _TOKEN)
        with contextlib.suppress(OSError):  # somebody else removed it
            if (ended and host in ("", socket.gethostname())) or time.time() - left.stat().st_mtime > _DAY:
                left.unlink()


def _write(checkpoint: dict[str, Any], path: Path, *, name: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(checkpoint, file)
            flush(file)
    except RuntimeError as error:  # torch hides what the file system said
        cause = error.__context__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(name)) from error
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(name)) from error


def _keep(path: Path) -> None:
    """Give what is at `path` the name of the previous version, without a moment in which neither name holds one."""
    second_name = path.with_name(f"{_unfinished_name()}-link")
    try:
        os.link(path, second_name)
    except OSError:  # a file system without hard links: until the new one is renamed, only the previous name holds one
        path.replace(previous_of(path))
        return
    second_name.replace(previous_of(path))
    second_name.unlink(missing_ok=True)  # renaming does nothing when both are one file


def checkpoint_bytes(module: nn.Module, *, averaged: bool = False) -> int:
    """About what one training checkpoint takes: the weights, twice when their average is kept as well, and two
    optimiser states for each trained parameter."""
    states = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    trained = sum(
        parameter.numel() * parameter.element_size() for parameter in module.parameters() if parameter.requires_grad
    )
    return (2 if averaged else 1) * states + 2 * trained


def bytes_of_run(module: nn.Module, trainer: pl.Trainer) -> int:
    """About what the checkpoints and the bundle of a run take at most: the best ones, last.ckpt, the one before it, the
    one that is being written, and two of SLURM's."""
    averaged = any(isinstance(callback, WeightAveraging) for callback in settings_of(trainer).callbacks)
    callbacks = settings_of(trainer).callbacks
    best = sum(max(int(one.save_top_k), 1) for one in callbacks if isinstance(one, ModelCheckpoint))
    files = best + 3 + (2 if "SLURM_JOB_ID" in os.environ else 0)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    return files * checkpoint_bytes(module, averaged=averaged) + weights
