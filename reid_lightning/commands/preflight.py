"""What of a training command can be refused before anything is read, drawn or downloaded, and of its data before the
first step."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import check_writable
from reid_lightning.commands.drawn_start import check_drawn_start
from reid_lightning.commands.parts import Parts
from reid_lightning.commands.run_folder import check_run_dir
from reid_lightning.data.inspection.overlap import shared_identities, shared_pictures
from reid_lightning.data.readers.layout import check_seed
from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError, count, shortened
from reid_lightning.losses import WeightedSum
from reid_lightning.models import check_input_size, warn_of_mismatch
from reid_lightning.ranks import is_rank_zero
from reid_lightning.training.acceleration import (
    check_accelerator,
    check_clipping,
    check_precision,
    check_sync_batchnorm,
)
from reid_lightning.training.checkpoints import bytes_of_run
from reid_lightning.training.datamodule import ReIDDataModule
from reid_lightning.training.lightning_internals import settings_of
from reid_lightning.training.module import ReIDModule
from reid_lightning.training.resuming import AUTO, check_resumable, resume_path

_LARGEST_SEED = 2**32 - 1  # NumPy's
_NAMED = 5  # identities in a warning

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preflight:
    """The checks of a training command, in three stages: before anything is built, before any data is read or drawn,
    and before the first step. Each raises a ReIDError; nothing is written into the run's folder by any of them."""

    cfg: DictConfig

    @property
    def run_dir(self) -> Path:
        """The folder of the run."""
        return Path(self.cfg.run_dir)

    def of_config(self) -> Path | None:
        """Seeds, the length of the run, loss, folder, accelerator and precision; gives the checkpoint to resume."""
        trainer = self.cfg.trainer
        check_seeds(self.cfg)
        check_length(trainer)
        check_loss(self.cfg)
        check_drawn_start(self.cfg)
        check_run_dir()
        check_writable(self.run_dir)
        check_accelerator(trainer.accelerator, trainer.devices)
        check_precision(trainer.precision)
        check_clipping(trainer.precision, clip=trainer.gradient_clip_val, fused=bool(self.cfg.optimizer.get("fused")))
        return resume_path(self.cfg.resume, self.run_dir)

    def of_parts(self, parts: Parts) -> None:
        """Network, input size, and limits of the trainer that would fail, or lie, in the middle of the run."""
        for size in {parts.preprocessing, parts.preprocessing.for_training()}:
            check_input_size(parts.model, height=size.height, width=size.width)
        warn_of_mismatch(parts.model, parts.preprocessing)
        check_limits(parts.trainer)
        if self.cfg.trainer.sync_batchnorm:
            check_sync_batchnorm(parts.model, device=parts.device, world_size=parts.trainer.world_size)

    def of_data(
        self,
        parts: Parts,
        dataset: VehicleDataset,
        module: ReIDModule,
        datamodule: ReIDDataModule,
        resume: Path | None,
    ) -> None:
        """The evaluation of this data, batches for all ranks, the checkpoint to resume, and the disk."""
        parts.evaluation.check(dataset)
        check_data(dataset)
        check_batches(module.loss, datamodule, world_size=parts.trainer.world_size)
        if resume is not None:
            again = self.cfg.resume in (None, AUTO)
            digest = datamodule.identities_digest
            check_resumable(resume, module, parts.trainer, identities=digest, may_be_complete=again)
        check_writable(self.run_dir, needed_bytes=bytes_of_run(module, parts.trainer))


def check_limits(trainer: pl.Trainer) -> None:
    """ReIDError for limits of the trainer that validation, or the order of batches, cannot keep."""
    if settings_of(trainer).overfit_batches > 0:
        raise ReIDError("trainer.overfit_batches is not supported; train on a data set of a few pictures instead.")
    if trainer.limit_val_batches != 1.0 and not settings_of(trainer).fast_dev_run:
        raise ReIDError(
            f"trainer.limit_val_batches is {trainer.limit_val_batches}: a ranking needs all pictures. Leave it out, or "
            "validate less often with trainer.check_val_every_n_epoch."
        )


def check_seeds(cfg: DictConfig) -> None:
    """ReIDError for a seed that is no whole number, or that NumPy's generator does not take."""
    seed = cfg.seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED:
        raise ReIDError(f"seed is {seed!r}; expected a whole number from 0 to {_LARGEST_SEED}.")
    sets = OmegaConf.select(cfg, "data.sets") or {}
    for group in ("loader", "module", "data", *(f"data.sets.{name}" for name in sets)):
        if isinstance(settings := OmegaConf.select(cfg, group), DictConfig) and "seed" in settings:
            check_seed(f"{group}.seed", settings.seed)


def check_length(trainer: DictConfig) -> None:
    """ReIDError for a run of no step, and for one without an end, in which no learning rate could be planned."""
    if trainer.get("fast_dev_run"):
        return
    epochs, steps = trainer.get("max_epochs"), trainer.get("max_steps", -1)
    for key, value in (("max_epochs", epochs), ("max_steps", steps)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value == 0 or not (whole or (value is None and key == "max_epochs")):
            raise ReIDError(
                f"trainer.{key} is {value!r}; expected a whole number of 1 or more. To judge a model without training "
                "it: reid evaluate checkpoint=<bundle>."
            )
    if (every := trainer.get("check_val_every_n_epoch")) is not None and every < 1:
        raise ReIDError(f"trainer.check_val_every_n_epoch is {every}; expected a whole number of 1 or more, or null.")
    if steps == -1 and (epochs == -1 or (epochs is None and trainer.get("max_time") is not None)):
        raise ReIDError(
            f"trainer.max_epochs is {epochs}, a run without an end, over which no learning rate can be planned; set "
            "trainer.max_epochs=<epochs>, or +trainer.max_steps=<steps>."
        )


def check_loss(cfg: DictConfig) -> None:
    """ReIDError for a file of the group `loss` that does not say what it configures."""
    loss = OmegaConf.select(cfg, "loss")
    if isinstance(loss, DictConfig) and "_target_" in loss:
        return
    name = HydraConfig.get().runtime.choices.get("loss") if HydraConfig.initialized() else None
    raise ReIDError(
        f"loss={name}: conf/loss/{name}.yaml has no _target_; expected the lines '_target_: "
        "reid_lightning.losses.WeightedSum' and '_convert_: all' before its terms, as in conf/loss/supcon.yaml."
        if name
        else "there is no loss; choose one, such as loss=id_triplet."
    )


def check_data(dataset: VehicleDataset) -> None:
    """ReIDError for pictures that are learned and then judged on; a warning for such identities.

    No more than a warning, because lists may number the vehicles of each side on their own.
    """
    if pictures := shared_pictures(dataset):
        raise ReIDError(
            f"{count(len(pictures), 'picture')} of data set {dataset.name!r} {'is' if len(pictures) == 1 else 'are'} "
            f"in training and in query or gallery, such as {pictures[0]}: the model would be judged on the very "
            "pictures it has learned. Remove them from one side: the lists, the split column or the split group say "
            "which side a picture is on."
        )
    if (identities := shared_identities(dataset)) and is_rank_zero():
        more = f" and {len(identities) - _NAMED:,} more" if len(identities) > _NAMED else ""
        logger.warning(
            "%s identities of data set %r are in training and in query or gallery (%s%s). If these are the same "
            "vehicles, the evaluation rewards remembering them and says less about new ones: keep each vehicle on one "
            "side; data.test_fraction does so when no split is given.",
            f"{len(identities):,}",
            dataset.name,
            ", ".join(map(shortened, identities[:_NAMED])),
            more,
        )


def check_batches(loss: WeightedSum, datamodule: ReIDDataModule, *, world_size: int) -> None:
    """ReIDError when there are too few identities for all ranks, or when batches hold nothing that the loss could learn
    from."""
    datamodule.batch_sampler(world_size=world_size)
    if datamodule.sampling == "pk":
        loss.check_batch(
            identities=world_size * datamodule.identities_per_batch,
            images_per_identity=datamodule.images_per_identity,
        )
