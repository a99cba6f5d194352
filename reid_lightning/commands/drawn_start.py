"""Weights that drawn vehicles have taught: where a training on a few real crops starts, `model.pretrained=drawn`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import cache_folder, check_writable, locked
from reid_lightning.bundle.bundle import WEIGHTS_NAME
from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.launching import config_folders, run_command

DRAWN = "drawn"
_VERSION = 1  # raise it when `reid train` would make other weights: the old ones are then left alone
_EPOCHS = 2
_OWN = ("_target_", "pretrained", "side_information", "mixstyle")  # of the model's keys, not handed on
_OF_RANKS = ("SLURM_", "TORCHELASTIC_", "MASTER_", "GROUP_", "LOCAL_", "ROLE_", "NODE_", "RANK", "WORLD_SIZE", "PL_")
_WAIT = 3600.0  # seconds that a second process gives the first one

_logger = logging.getLogger(__name__)


def with_drawn_start(cfg: DictConfig) -> DictConfig:
    """`cfg`, with the file of the weights in the place of `model.pretrained=drawn`.

    They are the bundle of `reid train` with this network, two epochs and no other settings, made at first use, in about
    four minutes on two cores, and kept in the user's cache; from four epochs nothing was gained. Raises ReIDError for
    a training on the drawn fleet itself, and when they cannot be made or kept.
    """
    if OmegaConf.select(cfg, "model.pretrained") != DRAWN:
        return cfg
    if str(OmegaConf.select(cfg, "data._target_")).endswith(".read_synthetic"):
        raise ReIDError(
            "model.pretrained=drawn with data=synthetic: these weights have learned from the drawn fleet already; "
            "leave model.pretrained out, or name the data that they are to learn from next."
        )
    started: DictConfig = cfg.copy()
    started.model.pretrained = str(drawn_weights(_words(cfg)))
    return started


def drawn_weights(words: list[str]) -> Path:
    """The weights file of the network that `words` of `reid train` choose; trained first if there is none."""
    mark = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]
    folder = cache_folder() / f"drawn-{_VERSION}-{mark}"
    weights = folder / WEIGHTS_NAME
    if weights.is_file():
        return weights
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        check_writable(folder.parent)
    except OSError as error:
        raise ReIDError(
            f"weights of drawn vehicles cannot be kept in {folder.parent} ({error.strerror}); name another folder for "
            "caches by XDG_CACHE_HOME=<folder>"
        ) from error
    with locked(folder.with_name(f"{folder.name}.lock"), seconds=_WAIT):
        if not weights.is_file():  # of two processes, the second takes what the first has made
            _train(words, folder)
    return weights


def _train(words: list[str], folder: Path) -> None:
    _logger.info(
        "model.pretrained=drawn: training on the drawn fleet first, once; about four minutes on two cores. Kept in %s",
        folder,
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_RANKS)}
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as place:
        own = [f"trainer.max_epochs={_EPOCHS}", "evaluation.pictures=false"]
        own += [f"data.root={place}/fleet", f"hydra.run.dir={place}/run"]
        command = [sys.executable, "-m", "reid_lightning.commands", "train", *config_folders(), *words, *own]
        status, message = run_command(command, environment=environment, only="epoch ")
        if status != 0:
            raise ReIDError(f"model.pretrained=drawn: the training on the drawn fleet failed: {message or status}")
        (Path(place) / "run" / "bundle").rename(folder)
    _logger.info("model.pretrained=drawn: done; now the training on your pictures")


def _words(cfg: DictConfig) -> list[str]:
    """The network of `cfg`, as words of the command line."""
    settings: Any = OmegaConf.to_container(cfg.model, resolve=True)
    choice = HydraConfig.get().runtime.choices["model"]
    return [f"model={choice}", *(f"model.{key}={json.dumps(settings[key])}" for key in settings if key not in _OWN)]
