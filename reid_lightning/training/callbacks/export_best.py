"""Writes the bundle of the best checkpoint when training ends."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from reid_lightning.bundle import bundle
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.data.records import VehicleDataset
from reid_lightning.models import ReIDModel


class ExportBest(pl.Callback):
    """Export the checkpoint with the best monitored value into `folder`.

    The model card carries the metrics that were measured when that checkpoint was written.
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
            metrics=loaded.options.metrics,
            data={
                **describe_training(trainer.datamodule.dataset, pl_module.model),
                "epoch": read_checkpoint(Path(best))["epoch"],
            },
        )


def describe_training(dataset: VehicleDataset, model: ReIDModel) -> dict[str, int | str]:
    """What the model card says of the data, and of the weights that training started from."""
    report = model.backbone.weights_report
    return {
        "name": dataset.name,
        "first weights": "random" if report is None else f"{report.source}, {Path(report.origin).name}",
        "training pictures": len(dataset.train),
        "training identities": len({image.identity for image in dataset.train}),
        "query pictures": len(dataset.query),
        "gallery pictures": len(dataset.gallery),
        "gallery identities": len({image.identity for image in dataset.gallery}),
        "skipped pictures": len(dataset.skipped),
    }
