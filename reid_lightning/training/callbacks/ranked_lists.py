"""A picture of ranked lists after every validation, on disk and in the loggers that show pictures."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl

from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.pictures import draw_ranked_lists
from reid_lightning.evaluation.ranked_lists import PicturedRanking
from reid_lightning.training.callbacks.retrieval_metrics import RetrievalMetrics
from reid_lightning.training.datamodule import datamodule_of
from reid_lightning.training.lightning_internals import settings_of
from reid_lightning.training.logged_pictures import log_picture


class RankedLists(pl.Callback):
    """Draw queries and their best matches after each validation.

    Args:
        folder: gets `ranked_lists_epoch_<n>.png`.
        queries: rows of the picture.
        columns: matches a row.
    """

    def __init__(self, folder: str | Path, *, queries: int = 8, columns: int = 10) -> None:
        self.folder = Path(folder)
        self.queries = queries
        self.columns = columns

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs on rank zero only, on the embeddings that the retrieval metrics ranked."""
        callback = next((one for one in settings_of(trainer).callbacks if isinstance(one, RetrievalMetrics)), None)
        if callback is None:
            raise ReIDError("callbacks.ranked_lists needs callbacks.retrieval_metrics, whose ranking it draws.")
        if not trainer.is_global_zero or trainer.sanity_checking or settings_of(trainer).fast_dev_run:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        dataset = datamodule_of(trainer).divided.validation
        query, gallery = (side.cpu() for side in callback.metric.last_embeddings)
        path = draw_ranked_lists(
            PicturedRanking.of_embeddings(dataset, query, gallery, callback.metric.result),
            self.folder / f"ranked_lists_epoch_{trainer.current_epoch:03d}.png",
            name=dataset.name,
            queries=self.queries,
            columns=self.columns,
        )
        log_picture(trainer, "val/ranked_lists", path)
