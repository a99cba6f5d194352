"""Writes the bundle of the best checkpoint when training ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from reid_lightning.bundle import bundle
from reid_lightning.bundle.model_card import VALIDATION_MAP
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.data.readers.validation import Divided
from reid_lightning.models.pretrained import MatchReport
from reid_lightning.training.callbacks.retrieval_metrics import choice_of
from reid_lightning.training.datamodule import datamodule_of


class ExportBest(pl.Callback):
    """Export the checkpoint with the best monitored value into `folder`.

    Its figures are still to come: `train.py` measures the bundle. Only where the epoch is chosen on the pictures of the
    final figures, those of the checkpoint are these figures.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs on rank zero only; does nothing after a debugging run that kept no checkpoint."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not trainer.is_global_zero or not best:
            return
        loaded = bundle.open_model(best)
        bundle.save_bundle(
            self.folder,
            loaded.model,
            loaded.options.preprocessing,
            metrics=loaded.options.metrics if datamodule_of(trainer).divided.on_test else {},
            data={
                **describe_training(trainer, pl_module.model),
                "epoch": read_checkpoint(Path(best))["epoch"],
            },
        )


def _name_of(weights: Path) -> str:
    """Of a file of weights; of a bundle's, which are all called alike, the folder's."""
    return weights.parent.name if weights.name == bundle.WEIGHTS_NAME else weights.name


def describe_training(trainer: pl.Trainer, model: Any) -> dict[str, int | float | str]:
    """What the model card says of the data, of the weights that training started from, and of the epoch's choice."""
    divided: Divided = datamodule_of(trainer).divided
    dataset = divided.train
    report: MatchReport | None = model.backbone.weights_report
    best = getattr(trainer.checkpoint_callback, "best_model_score", None)
    validated = {} if divided.on_test or best is None else {VALIDATION_MAP: float(best)}
    return {
        "name": dataset.name,
        "first weights": "random" if report is None else f"{report.source}, {_name_of(Path(report.origin))}",
        "training pictures": len(dataset.train),
        "training identities": len({image.identity for image in dataset.train}),
        "query pictures": len(dataset.query),
        "gallery pictures": len(dataset.gallery),
        "gallery identities": len({image.identity for image in dataset.gallery}),
        "skipped pictures": len(dataset.skipped),
        **choice_of(trainer),
        **validated,
    }
