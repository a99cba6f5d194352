"""Freeze warm-up: in the first epochs only what is new learns, so that its first gradients do not wreck a pretrained
backbone (fast-reid's FREEZE_ITERS)."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer

from reid_lightning.errors import ReIDError
from reid_lightning.training.freezing import keep_frozen_in_eval


class FreezeWarmUp(pl.Callback):
    """Keeps the backbone as it is, weights and running statistics, until `epochs` epochs are done.

    Its gradients are computed and then dropped before the optimiser's step, and before gradients are clipped, so that
    neither decay nor momentum nor the clipping norm sees them: DDP fixes at the start which parameters have gradients,
    so switching `requires_grad` later would hang it. The schedule of the learning rate goes on meanwhile. What to do
    follows from the current epoch alone, so a resumed run needs no state.
    """

    def __init__(self, *, epochs: int) -> None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ReIDError(f"freeze warm-up of {epochs!r} epochs: expected a whole number, 1 or more")
        self.epochs = epochs

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Evaluation mode for the backbone while it waits, training mode for its unfrozen part afterwards."""
        # Not at the start of the epoch: Lightning leaves that out when a run resumes in the middle of one.
        model: Any = pl_module.model
        backbone, warming = model.backbone, trainer.current_epoch < self.epochs
        if backbone.training == warming:
            backbone.eval() if warming else model.train()
            keep_frozen_in_eval(model)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Drop the backbone's gradients while it waits."""
        if trainer.current_epoch < self.epochs:
            model: Any = pl_module.model
            for parameter in model.backbone.parameters():
                parameter.grad = None
