"""What of a training command can be refused before anything is read, drawn or downloaded, and of its data before it
is learned."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import check_writable
from reid_lightning.commands.run_folder import check_run_dir
from reid_lightning.data.inspection.overlap import shared_identities, shared_pictures
from reid_lightning.data.readers.layout import check_seed
from reid_lightning.data.records import VehicleDataset
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.losses import WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.models.conv_as_matmul import use_conv_as_matmul
from reid_lightning.ranks import is_rank_zero
from reid_lightning.training.acceleration import (
    check_accelerator,
    check_clipping,
    check_precision,
    check_sync_batchnorm,
)
from reid_lightning.training.datamodule import ReIDDataModule

_LARGEST_SEED = 2**32 - 1  # NumPy's
_NAMED = 5  # identities in a warning

logger = logging.getLogger(__name__)


def check_config(cfg: DictConfig) -> None:
    """ReIDError for seeds, a length of the run, a loss, a run directory, an accelerator or a precision that cannot
    work."""
    check_seeds(cfg)
    check_length(cfg.trainer)
    check_loss(cfg)
    check_run_dir()
    check_writable(Path(cfg.run_dir))
    check_accelerator(cfg.trainer.accelerator, cfg.trainer.devices)
    check_precision(cfg.trainer.precision)
    fused = bool(cfg.optimizer.get("fused"))
    check_clipping(cfg.trainer.precision, clip=cfg.trainer.gradient_clip_val, fused=fused)


def check_trainer(trainer: pl.Trainer, model: ReIDModel, *, sync_batchnorm: bool) -> None:
    """ReIDError for limits and for synchronised batch norms that would fail, or lie, in the middle of the run."""
    check_limits(trainer)
    if sync_batchnorm:
        check_sync_batchnorm(model, device=trainer.strategy.root_device, world_size=trainer.world_size)


def check_limits(trainer: pl.Trainer) -> None:
    """ReIDError for limits of the trainer that validation, or the order of batches, cannot keep."""
    if trainer.overfit_batches > 0:
        raise ReIDError("trainer.overfit_batches is not supported; train on a data set of a few pictures instead.")
    if trainer.limit_val_batches != 1.0 and not trainer.fast_dev_run:
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
                "it: python evaluate.py checkpoint=<bundle>."
            )
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
            f"{len(pictures):,} pictures of data set {dataset.name!r} are in training and in query or gallery, such as "
            f"{pictures[0]}: the model would be judged on the very pictures it has learned. Remove them from one side: "
            "the lists, the split column or the split group say which side a picture is on."
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


def check_validated(trainer: pl.Trainer) -> None:
    """ReIDError after a run in which no epoch was validated."""
    if not trainer.checkpoint_callback.best_model_path:
        raise ReIDError(
            "no epoch was validated, so nothing was exported; lower trainer.check_val_every_n_epoch, or let the run "
            "last an epoch at least (trainer.max_steps, trainer.max_time)."
        )


def is_given(key: str) -> bool:
    """Whether a key stands on the command line."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return any(word.lstrip("+").partition("=")[0] == key for word in words)


def agree_on_side_information(model: ReIDModel, datamodule: ReIDDataModule) -> None:
    """Where the network uses cameras or viewpoints: it takes the names of the training pictures, and batches number
    them as it does. Before the network meets an optimiser."""
    if model.side_information is None:
        return
    numbering = datamodule.numbering
    model.name_sides(cameras=list(numbering["camera"]), viewpoints=list(numbering["viewpoint"]))
    sides = model.side_information
    named = {"camera": sides.cameras, "viewpoint": sides.viewpoints}
    numbers = {target: {name: at for at, name in enumerate(names or ())} for target, names in named.items()}
    datamodule.numbering = {**numbering, **numbers}


def check_batches(loss: WeightedSum, datamodule: ReIDDataModule, *, world_size: int) -> None:
    """ReIDError when there are too few identities for all ranks, or when batches hold nothing that the loss could learn
    from."""
    datamodule.batch_sampler(world_size=world_size)
    if datamodule.sampling == "pk":
        loss.check_batch(
            identities=world_size * datamodule.identities_per_batch,
            images_per_identity=datamodule.images_per_identity,
        )


def use_fast_convolutions(model: ReIDModel) -> ReIDModel:
    """Store convolution weights channels last, and on a CPU compute those on maps of a few positions as matrix
    products: the same numbers but for rounding, in less time."""
    return use_conv_as_matmul(model.to(memory_format=torch.channels_last))
