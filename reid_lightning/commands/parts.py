"""What a training command builds from its configuration, checked by `Preflight`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from reid_lightning.commands.drawn_start import built_without
from reid_lightning.commands.entry_point import build
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.evaluator import Evaluation
from reid_lightning.models import ReIDModel
from reid_lightning.models.conv_as_matmul import use_conv_as_matmul
from reid_lightning.models.depthwise_gradient import use_depthwise_gradient
from reid_lightning.models.folded_norms import fold_frozen_norms
from reid_lightning.sweeps.jobs import settings_of_words
from reid_lightning.training.acceleration import compile_in_place, set_matmul_precision
from reid_lightning.training.datamodule import ReIDDataModule
from reid_lightning.training.module import ReIDModule


@dataclass(frozen=True)
class Parts:
    """What does not depend on the data."""

    cfg: DictConfig
    model: ReIDModel
    preprocessing: Preprocessing
    trainer: pl.Trainer
    evaluation: Evaluation
    make_datamodule: Callable[..., ReIDDataModule]
    make_module: Callable[..., ReIDModule]

    @classmethod
    def of(cls, cfg: DictConfig) -> Parts:
        """Of a configuration; ReIDError for what it cannot be built from."""
        preprocessing = instantiate(cfg.input)
        transform, optimizer, scheduler, module, loader, trainer = (
            build(cfg, group) for group in ("transforms", "optimizer", "scheduler", "module", "loader", "trainer")
        )
        scheduler(optimizer([nn.Parameter(torch.zeros(1))]), total_steps=1000)  # a value that they refuse
        train_transform = transform(preprocessing.for_training())
        return cls(
            cfg,
            use_fast_convolutions(built_without(cfg), fold=not cfg.trainer.get("sync_batchnorm")),
            preprocessing,
            trainer(callbacks=list(instantiate(cfg.callbacks).values()), logger=list(instantiate(cfg.logger).values())),
            instantiate(cfg.evaluation),
            lambda dataset, **given: loader(dataset, preprocessing, train_transform=train_transform, **given),
            lambda model, loss: module(model, loss, preprocessing, optimizer=optimizer, scheduler=scheduler),
        )

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return self.trainer.strategy.root_device

    def use_device(self) -> None:
        """The precision of its products, and the network compiled for it, as the configuration says."""
        set_matmul_precision(self.cfg.float32_matmul_precision, device=self.device)
        compile_in_place(self.model, self.cfg.compile, device=self.device)

    def with_data(self, dataset: VehicleDataset) -> tuple[ReIDModule, ReIDDataModule]:
        """What depends on the data; the network takes the names of its cameras and viewpoints, if it uses them."""
        datamodule = self.make_datamodule(
            dataset,
            validation=self.cfg.data.validation,
            shrink_for=None if _is_given("loader.identities_per_batch") else self.trainer.world_size,
        )
        agree_on_side_information(self.model, datamodule)
        loss = instantiate(self.cfg.loss, classes=datamodule.classes, embedding_dim=self.model.embedding_dim)
        return self.make_module(self.model, loss), datamodule


def use_fast_convolutions(model: ReIDModel, *, fold: bool = True) -> ReIDModel:
    """Store convolution weights channels last, and on a CPU compute on maps of a few positions in other ways: the same
    numbers but for rounding, in less time. `fold`: with each convolution the frozen norm behind it."""
    kept: nn.Module = model
    kept.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    use_conv_as_matmul(model)
    use_depthwise_gradient(model)
    if fold and model.frozen_statistics:
        fold_frozen_norms(model)
    return model


def agree_on_side_information(model: ReIDModel, datamodule: ReIDDataModule) -> None:
    """Where the network uses cameras or viewpoints: it takes the names of the training pictures, and batches number
    them as it does. Before the network meets an optimiser."""
    if model.side_information is None:
        return
    numbering = datamodule.numbering
    model.name_sides(cameras=list(numbering["camera"]), viewpoints=list(numbering["viewpoint"]))
    sides = model.side_information
    named = {"camera": sides.cameras, "viewpoint": sides.viewpoints}
    known = {target: names if isinstance(names, list) else [] for target, names in named.items()}
    numbers = {target: {name: at for at, name in enumerate(names)} for target, names in known.items()}
    datamodule.numbering = {**numbering, **numbers}


def exported_bundle(trainer: pl.Trainer, run_dir: Path) -> Path:
    """The bundle of the best epoch; ReIDError after a run in which no epoch was validated."""
    if not getattr(trainer.checkpoint_callback, "best_model_path", ""):
        raise ReIDError(
            "no epoch was validated, so nothing was exported; lower trainer.check_val_every_n_epoch, or let the run "
            "last an epoch at least (trainer.max_steps, trainer.max_time)."
        )
    return run_dir / "bundle"


def _is_given(key: str) -> bool:
    """Whether a key stands on the command line."""
    return HydraConfig.initialized() and key in settings_of_words(HydraConfig.get().overrides.task)
