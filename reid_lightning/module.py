"""ReIDModule: joins model, loss, optimiser and data for training. No maths here: that is in the rooms it joins."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reid_lightning.bundle import check_architecture, read_checkpoint, training_record
from reid_lightning.data.batch import Batch
from reid_lightning.data.samplers import mixed
from reid_lightning.data.transforms import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.losses import WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.non_finite import NonFiniteGuard, non_finite_error

# Lightning 2.6 calls a function that torch 2.12 deprecates, once in every worker; nothing a user could do about it.
warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


class ReIDModule(pl.LightningModule):
    """Trains `model` with `loss`.

    Args:
        model: backbone, pooling and neck.
        loss: a weighted sum of terms; every term is logged as `train/<term>`, their sum as `train/loss`.
        preprocessing: travels in every checkpoint, so that a checkpoint alone can be loaded for search.
        optimizer: called with the parameter groups.
        scheduler: called with (optimizer, total_steps=...), stepped after every optimiser step; None keeps the rate.
        seed: of what is random inside the network (dropout, MixStyle), with the step and the rank: an interrupted run
            goes on with the very numbers it would have had.
        on_non_finite: a loss that is no number stops the run ("stop"), or its step changes nothing ("skip").
    """

    def __init__(
        self,
        model: ReIDModel,
        loss: WeightedSum,
        preprocessing: Preprocessing,
        *,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., Any] | None = None,
        seed: int = 0,
        on_non_finite: Literal["stop", "skip"] = "stop",
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.preprocessing = preprocessing
        self._build_optimizer = optimizer
        self._build_scheduler = scheduler
        self._seed = seed
        self._guard = NonFiniteGuard(on_non_finite, error=self._non_finite_error)
        self._take_step = True
        self._total_steps = 0

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> L2-normalised embeddings (batch, dim)."""
        return self.model.embed(images)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the generators from (seed, batch, rank): nothing random depends on what ran before."""
        key = int(mixed(self._seed, self.trainer.fit_loop.total_batch_idx, self.global_rank)[0])
        torch.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
        np.random.seed(key & 0xFFFF_FFFF)
        random.seed(key)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted loss of a batch; logs each term."""
        values = self.loss(self.model(batch.images), batch.labels, progress=self.progress)
        finite = self._guard.judge(values, step=self.global_step, rows=batch.rows)
        self._take_step = finite and (self._take_step or batch_idx % self.trainer.accumulate_grad_batches == 0)
        total = values.pop("total")
        size = len(batch.labels)
        self.log("train/loss", total, prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=size)
        return total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Without gradients an optimiser passes a parameter over: no decay, no momentum."""
        scales = getattr(self.trainer.precision_plugin, "scaler", None) is not None  # then the scaler skips by itself
        if not self._take_step and not scales:
            for parameter in self.parameters():
                parameter.grad = None

    @property
    def progress(self) -> float:
        """Share of the run's optimiser steps that are done, 0 to 1."""
        return min(1.0, self.global_step / max(1, self._total_steps))

    def validation_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Embeddings and rows of a batch, for the retrieval metrics."""
        return {"embeddings": self.model.embed(batch.images), "rows": batch.rows}

    def _non_finite_error(self, values: Mapping[str, Tensor], step: int, rows: Tensor) -> ReIDError:
        images = self.trainer.datamodule.dataset.train
        return non_finite_error(
            values,
            step=step,
            epoch=self.current_epoch,
            pictures=[images[row].path for row in rows.tolist()],
            weights_finite=all(bool(parameter.isfinite().all()) for parameter in self.parameters()),
            folder=Path(self.trainer.default_root_dir),
        )

    def configure_optimizers(self) -> dict[str, Any] | Optimizer:
        """Weight decay on matrices and kernels only; a schedule over the run's whole number of steps."""
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        optimizer = self._build_optimizer(parameter_groups(self))
        if self._build_scheduler is None:
            return optimizer
        scheduler = self._build_scheduler(optimizer, total_steps=self._total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model and its preprocessing."""
        self._guard.settle()
        checkpoint.setdefault("reid", {}).update(training_record(self.model, self.preprocessing))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture before its weights are touched."""
        check_architecture(checkpoint, self.model)


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: tensors of two or more dimensions, and the rest without weight decay."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise ReIDError("the model and the loss have no trainable parameter; nothing can be trained.")
    decayed = [parameter for parameter in trainable if parameter.ndim >= 2]
    rest = [parameter for parameter in trainable if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def check_resumable(path: Path, module: ReIDModule, *, max_epochs: int | None) -> None:
    """ReIDError when the checkpoint at `path` cannot go on as `module`: other network, input, loss or identities, or
    when it has trained its `max_epochs` already."""
    checkpoint = read_checkpoint(path)
    check_architecture(checkpoint, module.model)
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
    finished = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    epochs = checkpoint["epoch"] + int(finished)
    if max_epochs is not None and 0 <= max_epochs <= epochs:
        raise ReIDError(f"resume={path} has trained {epochs} epochs already; set trainer.max_epochs above that.")


def use_channels_last(model: nn.Module) -> nn.Module:
    """Store convolution weights channels last: the same numbers, faster convolutions on CPU and GPU."""
    return model.to(memory_format=torch.channels_last)


def checkpoint_bytes(module: nn.Module) -> int:
    """About what one training checkpoint takes: the weights, and two optimiser states for each parameter."""
    states = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return states + 2 * parameters
