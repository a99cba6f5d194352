"""ReIDModule: joins model, loss, optimiser and data for training. No maths here: that is in the rooms it joins."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer

from reid_lightning.bundle.bundle import check_architecture, training_record
from reid_lightning.data.batches.batch import Batch
from reid_lightning.data.batches.sampler import mixed
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.losses import WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.models.micro_batches import forward_in_micro_batches
from reid_lightning.training.accumulation import last_step_factor
from reid_lightning.training.freezing import freeze_layers, keep_frozen_in_eval
from reid_lightning.training.lightning_internals import logged_step, restore_loader_place, settings_of
from reid_lightning.training.non_finite import NonFiniteGuard, non_finite_error
from reid_lightning.training.parameter_groups import build_optimizer


class ReIDModule(pl.LightningModule):
    """Trains `model` with `loss`.

    Args:
        model: backbone, pooling and neck.
        loss: a weighted sum of terms; every term is logged as `train/<term>`, their sum as `train/loss`; as `lr`
            the highest rate of the parameter groups, which with `layer_decay` is that of all but the backbone.
        preprocessing: travels in every checkpoint, so that a checkpoint alone can be loaded for search.
        optimizer: called with the parameter groups.
        scheduler: called with (optimizer, total_steps=...), stepped after every optimiser step; None keeps the rate.
        micro_batches: pieces in which a batch goes through the network, for less memory; losses see the whole batch.
        layer_decay: None, or how much slower each layer of the backbone learns than the one behind it, see
            `parameter_groups`.
        freeze: layers of the backbone that do not learn, by name or by number from the first, see `freeze_layers`.
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
        micro_batches: int = 1,
        layer_decay: float | None = None,
        freeze: Sequence[str] | int = (),
        seed: int = 0,
        on_non_finite: Literal["stop", "skip"] = "stop",
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.preprocessing = preprocessing
        self._build_optimizer = optimizer
        self._build_scheduler = scheduler
        self._micro_batches = micro_batches
        self._layer_decay = layer_decay
        self._seed = seed
        self._guard = NonFiniteGuard(on_non_finite, error=self._non_finite_error)
        self._take_step = True
        self._total_steps = 0
        self._losses: dict[str, Tensor] = {}
        self._steps_of_epoch = 0
        # Alike on every rank without DDP's copying them in each step, which a memory of embeddings is too large for.
        self._ddp_params_and_buffers_to_ignore = [f"loss.{name}" for name, _ in loss.named_buffers()]
        freeze_layers(model, freeze)
        keep_frozen_in_eval(model)

    def train(self, mode: bool = True) -> ReIDModule:
        """As for any module; what is frozen stays in evaluation mode."""
        super().train(mode)
        keep_frozen_in_eval(self.model)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> L2-normalised embeddings (batch, dim)."""
        return self.model.embed(images)

    def on_train_start(self) -> None:
        """Whoever looked at the network in the meantime may have switched all of it to training. And the loader begins
        where the checkpoint was written."""
        keep_frozen_in_eval(self.model)
        restore_loader_place(self.trainer)

    def on_train_epoch_start(self) -> None:
        """The means of an epoch begin again."""
        self._losses, self._steps_of_epoch = {}, 0

    def losses_of_epoch(self) -> dict[str, float]:
        """Means of the terms and the total over the batches of this epoch that this process has trained on."""
        return {name: float(value) / self._steps_of_epoch for name, value in self._losses.items()}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the generators from (seed, batch, rank): nothing random depends on what ran before."""
        key = int(mixed(self._seed, self.trainer.fit_loop.total_batch_idx, self.global_rank)[0])
        for device in {torch.default_generator.device, self.device}:  # torch.manual_seed asks all kinds of devices
            source = torch.default_generator if device.type == "cpu" else torch.get_device_module(device)
            source.manual_seed(key & 0x7FFF_FFFF_FFFF_FFFF)
        np.random.seed(key & 0xFFFF_FFFF)
        random.seed(key)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted loss of a batch; logs each term."""
        kept = self._buffers_to_restore()
        progress = min(1.0, self.global_step / max(1, self._total_steps))
        inputs = (batch.images, batch.cameras, batch.viewpoints)
        output = forward_in_micro_batches(self.model, *inputs, micro_batches=self._micro_batches)
        values = self.loss(output, batch.targets, progress=progress)
        finite = self._guard.judge(values, step=self.global_step, epoch=self.current_epoch, rows=batch.rows)
        if not finite:  # what the forward pass has written into running statistics
            for buffer, before in kept:
                buffer.copy_(before)
        else:
            detached = {name: value.detach() for name, value in values.items()}
            self._losses = {name: value + self._losses.get(name, 0) for name, value in detached.items()}
            self._steps_of_epoch += 1
        self._take_step = finite and (self._take_step or batch_idx % self.trainer.accumulate_grad_batches == 0)
        total = values["total"]
        self._log_step(values, self.loss.weights(progress), batch_size=len(batch.labels))
        return total * last_step_factor(
            batch_idx, batches=self.trainer.num_training_batches, accumulate=self.trainer.accumulate_grad_batches
        )

    def _log_step(self, values: Mapping[str, Tensor], weights: Mapping[str, float], *, batch_size: int) -> None:
        """In the steps that the trainer logs, and read from the device there: a progress bar would read it in all."""
        every = settings_of(self.trainer).log_every_n_steps
        if every == 0 or (logged_step(self.trainer) + 1) % every:
            return
        named = {f"train/{name}": value.detach().cpu() for name, value in values.items() if name != "total"}
        self.log("train/loss", values["total"].detach().cpu(), prog_bar=True, batch_size=batch_size)
        rates = (group["lr"] for optimizer in self.trainer.optimizers for group in optimizer.param_groups)
        self.log("lr", torch.tensor(max(map(float, rates)), dtype=torch.float64), batch_size=batch_size)
        self.log_dict(named | {f"train/weight_{name}": value for name, value in weights.items()}, batch_size=batch_size)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Without gradients an optimiser passes a parameter over: no decay, no momentum."""
        scales = getattr(self.trainer.precision_plugin, "scaler", None) is not None  # then the scaler skips by itself
        if not self._take_step and not scales:
            for parameter in self.parameters():
                parameter.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning refuses fused optimisers under any mixed precision; only those with a loss scale are in the way."""
        plugin = self.trainer.precision_plugin
        if gradient_clip_val is None or getattr(plugin, "scaler", None) is not None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)

    def on_validation_start(self) -> None:
        """A broken step is named as one, not as embeddings that cannot be ranked."""
        self._guard.settle()

    def validation_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Embeddings and rows of a batch, for the retrieval metrics."""
        with torch.compiler.set_stance("force_eager"):  # no compilation for other sizes; the numbers of the bundle
            embeddings = self.model.embed(batch.images, batch.cameras, batch.viewpoints)
        return {"embeddings": embeddings, "rows": batch.rows}

    def _buffers_to_restore(self) -> list[tuple[Tensor, Tensor]]:
        """The network's buffers and copies of them, where a step may have to be undone."""
        if self._guard.mode != "skip":
            return []
        return [(buffer, buffer.clone()) for buffer in self.model.buffers()]

    def _non_finite_error(
        self, values: Mapping[str, Tensor], step: int, epoch: int, rows: Tensor, late: bool
    ) -> ReIDError:
        images = settings_of(self.trainer).datamodule.dataset.train
        finite = None if late else all(bool(parameter.isfinite().all()) for parameter in self.parameters())
        return non_finite_error(
            values,
            step=step,
            epoch=epoch,
            pictures=[images[row].path for row in rows.tolist()],
            weights_finite=finite,
            folder=Path(self.trainer.default_root_dir),
        )

    def configure_optimizers(self) -> Any:
        """The optimiser over `parameter_groups`; a schedule over the run's whole number of steps."""
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        optimizer = build_optimizer(self._build_optimizer, self, layer_decay=self._layer_decay)
        if self._build_scheduler is None:
            return optimizer
        scheduler = self._build_scheduler(optimizer, total_steps=self._total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model and its preprocessing."""
        self._guard.settle()
        checkpoint.setdefault("reid", {}).update(training_record(self.model, self.preprocessing))
        if (datamodule := getattr(settings_of(self.trainer), "datamodule", None)) is not None:
            checkpoint["reid"]["identities"] = datamodule.identities_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture before its weights are touched."""
        check_architecture(checkpoint, self.model)
