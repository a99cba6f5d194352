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
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import cache_folder, made_once
from reid_lightning.bundle.bundle import WEIGHTS_NAME, load
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel, warn_of_mismatch
from reid_lightning.sweeps.launching import config_folders, run_command

DRAWN = "drawn"
_VERSION = 2  # raise it when `reid train` would make other weights: the old ones are then left alone
_EPOCHS = 2
_OWN = ("_target_", "pretrained", "side_information", "mixstyle")  # of the model's keys, not handed on
_OF_RANKS = ("SLURM_", "TORCHELASTIC_", "MASTER_", "GROUP_", "LOCAL_", "ROLE_", "NODE_", "RANK", "WORLD_SIZE", "PL_")
_WAIT = 3600.0  # seconds that a second process gives the first one

_logger = logging.getLogger(__name__)


def check_drawn_start(cfg: DictConfig) -> None:
    """ReIDError for `model.pretrained=drawn` in a training on the drawn fleet itself."""
    if _is_wanted(cfg) and str(OmegaConf.select(cfg, "data._target_")).endswith(".read_synthetic"):
        raise ReIDError(
            "model.pretrained=drawn with data=synthetic: these weights have learned from the drawn fleet already; "
            "leave model.pretrained out, or name the data that they are to learn from next."
        )


def built_without(cfg: DictConfig) -> ReIDModel:
    """The network of `cfg`; where it starts from drawn vehicles with random weights, until `start_from_drawn`."""
    return instantiate(cfg.model, pretrained=None) if _is_wanted(cfg) else instantiate(cfg.model)


def start_from_drawn(cfg: DictConfig, model: ReIDModel, preprocessing: Preprocessing) -> None:
    """Give `model` the weights that `model.pretrained=drawn` asks for; nothing without it.

    They are the bundle of `reid train` with this network, two epochs and no other settings, made at first use, in about
    four minutes on two cores, and kept in the user's cache; from four epochs nothing was gained. It is long work, so
    all else has been checked before. Raises ReIDError when they cannot be made or kept.
    """
    if _is_wanted(cfg):
        folder = drawn_bundle(cfg)
        try:
            load(folder, None)
        except ReIDError as error:
            raise ReIDError(f"{error} Remove the folder {folder}: the next training makes it again.") from error
        model.start_from(folder)
        warn_of_mismatch(model, preprocessing)


def drawn_bundle(cfg: DictConfig) -> Path:
    """The folder of the bundle of drawn vehicles for the network of `cfg`, trained first if there is none."""
    words = _words(cfg)
    mark = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:12]
    folder = cache_folder() / f"drawn-{_VERSION}-{mark}"
    what = "the bundle of drawn vehicles"
    return made_once(folder / WEIGHTS_NAME, lambda: _train(words, folder), what=what, seconds=_WAIT).parent


def _is_wanted(cfg: DictConfig) -> bool:
    return bool(OmegaConf.select(cfg, "model.pretrained") == DRAWN)


def _train(words: list[str], folder: Path) -> None:
    _logger.info(
        "model.pretrained=drawn: training on the drawn fleet first, once; about four minutes on two cores. Kept in %s",
        folder,
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_RANKS)}
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as place:
        own = [f"trainer.max_epochs={_EPOCHS}", "evaluation.pictures=false", "onnx=false"]
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
