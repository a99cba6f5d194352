"""Average with the start: half of the way back to the weights that training began with keeps what they knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl

from reid_lightning.bundle import bundle
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.errors import ReIDError
from reid_lightning.training.average_checkpoints import average_checkpoints
from reid_lightning.training.callbacks.export_best import describe_training
from reid_lightning.training.datamodule import datamodule_of


class AverageWithStart(pl.Callback):
    """Export the mean of the best checkpoint's weights and those before the first step, in the place of the best one.

    For pretrained weights and pictures unlike those that will be searched, such as drawn ones: what was learnt of them
    stays for the most part, and what the weights knew of others comes back. Not measured when it is written, as after
    `AverageCheckpoints`. Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, with their 0.5.

    Args:
        folder: gets the bundle, in the place of what another callback exported there.
        start: gets a bundle of the weights before the first step.
        when: "drawn": for pretrained weights that were trained on a drawn fleet, which is not what they are for;
            "always"; or "never".
        real_vehicles: what such bundles do with real vehicles, for the model's card.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        start: str | Path,
        when: Literal["drawn", "always", "never"],
        real_vehicles: str | None = None,
    ) -> None:
        if when not in ("drawn", "always", "never"):
            raise ReIDError(f"callbacks.average_with_start.when is {when!r}; expected drawn, always or never.")
        self.folder = Path(folder)
        self.start = Path(start)
        self.when = when
        self.real_vehicles = real_vehicles

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights, unless a checkpoint is about to be loaded: then they were kept before."""
        module: Any = pl_module
        if self._acts(trainer, module.model) and trainer.ckpt_path is None:
            bundle.save_bundle(self.start, module.model, module.preprocessing, metrics={}, data={})

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs on rank zero only; does nothing after a debugging run that kept no checkpoint."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        module: Any = pl_module
        if not best or not self._acts(trainer, module.model) or not (self.start / bundle.OPTS_NAME).is_file():
            return
        averaged = average_checkpoints([self.start, best])
        described = describe_training(trainer, module.model)
        epoch = read_checkpoint(Path(best))["epoch"]
        bundle.save_bundle(
            self.folder,
            averaged.model,
            averaged.options.preprocessing,
            metrics={},
            data={
                **described,
                "epoch": epoch,
                "weights": "the mean of the best epoch's and those before the first step",
                **({"real vehicles": self.real_vehicles} if self.real_vehicles else {}),
            },
        )

    def _acts(self, trainer: pl.Trainer, model: Any) -> bool:
        of_drawn = datamodule_of(trainer).dataset.drawn and model.backbone.weights_report is not None
        return trainer.is_global_zero and (self.when == "always" or (self.when == "drawn" and of_drawn))
