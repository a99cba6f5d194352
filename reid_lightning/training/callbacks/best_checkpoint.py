"""The best checkpoint of a run, which comes along when the run goes on in another folder."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only

from reid_lightning.untrusted.torch_files import UnreadableFileError, load_torch_file

_log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """`ModelCheckpoint` for one best file: of equal epochs the later one, which has learned longer (few identities put
    aside are soon all found). Resumed in another folder, Lightning's own forgets the best score so far, and the first
    validation there becomes the best, however bad.

    Here the file is copied into the new folder and its score goes on to count; unless the other run has replaced the
    file since the checkpoint that is resumed was written: then the best of that moment exists no more, and this is
    said.
    """

    def check_monitor_top_k(self, trainer: pl.Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether the epoch that was just validated becomes the best."""
        equal = current is not None and current == self.best_model_score
        return super().check_monitor_top_k(trainer, current) or bool(equal)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the score, and the file where it is in another folder."""
        self.current_score = state_dict["current_score"]
        before = Path(state_dict["best_model_path"]) if state_dict["best_model_path"] else None
        if before is None or state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)
            return
        score = state_dict["best_model_score"]
        if not self._holds(before, score):
            _log.warning("%s is not the best checkpoint of the resumed run any more: the best starts again", before)
            return
        here = Path(self.dirpath or ".") / before.name
        _copy(before, here)
        moved = {"dirpath": self.dirpath, "best_model_path": str(here), "kth_best_model_path": str(here)}
        super().load_state_dict({**state_dict, **moved, "best_k_models": {str(here): score}})

    def _holds(self, path: Path, score: torch.Tensor) -> bool:
        if not path.is_file():
            return False
        try:
            callbacks = load_torch_file(path, mmap=True)["callbacks"]
        except UnreadableFileError as error:
            _log.warning("%s is left where it is: %s", path, error)
            return False
        return self.state_key in callbacks and float(callbacks[self.state_key]["best_model_score"]) == float(score)


@rank_zero_only
def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)
    except OSError:  # on another disk
        shutil.copyfile(file, to)
