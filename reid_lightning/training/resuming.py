"""Going on with a run: which of its checkpoints, and whether it fits."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytorch_lightning as pl

from reid_lightning.bundle.bundle import check_architecture
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.errors import ReIDError, count
from reid_lightning.training.callbacks.weight_averaging import check_averaging
from reid_lightning.training.checkpoints import LAST_NAME, OF_SLURM, previous_of
from reid_lightning.training.lightning_internals import settings_of
from reid_lightning.training.module import ReIDModule
from reid_lightning.untrusted.checksums import damage
from reid_lightning.untrusted.torch_files import UnreadableFileError, check_torch_file, load_torch_file

AUTO = "auto"

_log = logging.getLogger(__name__)


def resume_path(resume: str | Path | None, run_dir: Path) -> Path | None:
    """The checkpoint that `resume=...` means, or None for a run from the beginning; ReIDError as `choose_checkpoint`.

    null begins, unless SLURM has started this job again; "auto" goes on when `run_dir` has a checkpoint and begins when
    it has none; anything else is the path of a checkpoint or of a run.
    """
    if resume is None and int(os.environ.get("SLURM_RESTART_COUNT", "0") or 0) > 0:
        resume = AUTO
    if resume is None:
        return None
    if str(resume) != AUTO:
        return choose_checkpoint(Path(resume))
    return choose_checkpoint(run_dir) if _checkpoints(run_dir) else None


def choose_checkpoint(path: Path) -> Path:
    """The checkpoint file to go on from.

    Args:
        path: a file, which must be whole; or the folder of a run, or its checkpoints folder: of the files there the
            one with the most steps that is whole. What is passed over for damage is logged.

    Raises:
        ReIDError: there is nothing at `path`, or nothing whole; the message names the files that are.
    """
    if path.is_dir():
        whole, damaged = _newest_whole(path)
        for other, why in damaged:
            _log.warning("passed over %s: %s", other, why)
        if whole is not None:
            _log.info("going on from %s", whole)
            return whole
        found = "; ".join(f"{other.name}: {why}" for other, why in damaged) or "there is no .ckpt file"
        raise ReIDError(f"resume={path}: no whole checkpoint in this folder ({found}). Start without resume.")
    if not path.is_file():
        raise ReIDError(f"no checkpoint at resume={path}; expected a .ckpt file, or the folder of a run.")
    reason = damage(path)
    if reason is None:
        try:
            check_torch_file(path)
        except UnreadableFileError as error:
            raise ReIDError(f"resume={path} is no checkpoint of a run: {error}.") from error
        return path
    whole, _ = _newest_whole(path.parent)
    help_ = "there is no whole one beside it" if whole is None else f"{whole.name} beside it is whole: resume={whole}"
    raise ReIDError(f"resume={path} is damaged ({reason}); {help_}.")


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of the run that `folder` or its parent belongs to, in the order of preference at equal steps."""
    run = folder.parent if folder.name == "checkpoints" else folder
    files = {path for place in (folder, run, run / "checkpoints") for path in place.glob("[!.]*.ckpt")}
    ranks = {LAST_NAME: 0, previous_of(Path(LAST_NAME)).name: 2}
    return sorted(files, key=lambda path: (ranks.get(path.name, 1 if OF_SLURM.fullmatch(path.name) else 3), path.name))


def _newest_whole(folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The whole checkpoint with the most steps, and the damaged ones that were met, with the reason."""
    steps, damaged = {}, []
    for path in _checkpoints(folder):
        try:
            steps[path] = int(load_torch_file(path, mmap=True)["global_step"])
        except UnreadableFileError as error:
            damaged.append((path, damage(path) or str(error)))
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            damaged.append((path, f"not a checkpoint of a run ({type(error).__name__})"))
    for path in sorted(steps, key=steps.__getitem__, reverse=True):
        reason = damage(path)
        if reason is None:
            return path, damaged
        damaged.append((path, reason))
    return None, damaged


def check_resumable(
    path: Path,
    module: ReIDModule,
    trainer: pl.Trainer,
    *,
    identities: str | None = None,
    may_be_complete: bool = False,
) -> None:
    """ReIDError when the checkpoint at `path` cannot go on as `module` under `trainer`: other network, input, loss,
    identities or averaging, or when it has trained its `max_epochs` already. `may_be_complete` allows the latter: the
    same command was given again, and may have been killed before its export. `identities`: their digest; None, or a
    checkpoint of an earlier release: only their number is compared."""
    checkpoint = read_checkpoint(path)
    check_architecture(checkpoint, module.model)
    check_averaging(checkpoint, settings_of(trainer).callbacks)
    came, here = checkpoint["reid"]["preprocessing"], module.preprocessing.as_dict()
    if came != here:
        raise ReIDError(f"resume={path} was trained with input {came}, this run has {here}; give the same input.*.")
    saved, state = checkpoint["state_dict"], module.state_dict()
    different = sorted(
        key for key in {*saved, *state} if key not in saved or key not in state or saved[key].shape != state[key].shape
    )
    if different:
        raise ReIDError(
            f"resume={path} was trained with another loss or other identities ({different[0]} differs); give the same "
            "loss=... and data=..., or use its weights alone with model.pretrained=<checkpoint>."
        )
    if identities is not None and checkpoint["reid"].get("identities", identities) != identities:
        raise ReIDError(
            f"resume={path} was trained on other identities: it would be validated on vehicles that it knows, and its "
            "classifier would confuse the others. Give the same data=..., data.validation=... and seed=..."
        )
    finished = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    epochs = checkpoint["epoch"] + int(finished)
    if not may_be_complete and trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epochs:
        raise ReIDError(
            f"resume={path} has trained {count(epochs, 'epoch')} already; set trainer.max_epochs above "
            "that. If it was stopped "
            f"before its export: reid export checkpoint={path.with_name('best.ckpt')}."
        )
