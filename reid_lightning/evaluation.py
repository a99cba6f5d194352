"""Evaluates a loaded model on a data set: embeddings, mAP/CMC/mINP, `metrics.json` and the ranked-list picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from reid_lightning.cli import write_atomically
from reid_lightning.data.picture_dataset import PictureDataset
from reid_lightning.data.protocol import protocol_of
from reid_lightning.data.records import Split, VehicleDataset
from reid_lightning.errors import ReIDError
from reid_lightning.pictures import draw_ranked_lists
from reid_lightning.ranking import RetrievalResult, evaluate_retrieval
from reid_lightning.search import ReIDEmbedder


def embed_pictures(
    embedder: ReIDEmbedder, images: Split, *, batch_size: int = 64, num_workers: int = 0, title: str = "embedding"
) -> Tensor:
    """Embed the pictures of records, in order: (len(images), dim) float32 on the CPU. Shows progress."""
    loader = DataLoader(PictureDataset(images, embedder.preprocessing), batch_size=batch_size, num_workers=num_workers)
    parts = [embedder.embed(pictures, batch_size=batch_size) for pictures, _ in track(loader, title, transient=True)]
    return torch.cat(parts)


def evaluate_model(
    embedder: ReIDEmbedder,
    dataset: VehicleDataset,
    run_dir: Path,
    *,
    ranks: Sequence[int] = (1, 5, 10),
    batch_size: int = 64,
    num_workers: int = 0,
    columns: int = 10,
) -> RetrievalResult:
    """Image-to-image evaluation on the data set's own query and gallery pictures.

    Pictures of the query's identity and camera are junk (VeRi's protocol); where cameras are unknown nothing is.
    Writes `metrics.json` and `pictures/ranked_lists.png` into `run_dir`.
    """
    for name in ("query", "gallery"):
        if not getattr(dataset, name):
            raise ReIDError(f"data set {dataset.name!r} holds no {name} pictures, so nothing can be evaluated.")
    options = {"batch_size": batch_size, "num_workers": num_workers}
    query = embed_pictures(embedder, dataset.query, title="embedding queries", **options)
    gallery = embed_pictures(embedder, dataset.gallery, title="embedding the gallery", **options)
    result = evaluate_retrieval(query, gallery, **protocol_of(dataset), ranks=ranks)
    metrics = {**result.as_dict(), "data": dataset.name, "model": embedder.options.fingerprint}
    write_atomically(run_dir / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    pictures = run_dir / "pictures"
    pictures.mkdir(exist_ok=True)
    draw_ranked_lists(dataset, query, gallery, result, pictures / "ranked_lists.png", columns=columns)
    return result


def print_summary(result: RetrievalResult, dataset: VehicleDataset, run_dir: Path) -> None:
    """A table of the result, and where everything was written."""
    console = Console()
    table = Table(title=f"{dataset.name}: {len(dataset.query):,} queries, {len(dataset.gallery):,} gallery pictures")
    for column in ("mAP", *(f"rank-{rank}" for rank in result.cmc), "mINP"):
        table.add_column(column, justify="right")
    table.add_row(*(f"{100 * value:.2f}" for value in (result.mAP, *result.cmc.values(), result.mINP)))
    table.caption = result.describe()
    console.print(table)
    for path in written_files(run_dir):
        console.print(f"[dim]wrote[/dim] {path}", soft_wrap=True, highlight=False)


def written_files(run_dir: Path) -> list[Path]:
    """What a user wants to find again, as far as this run wrote it."""
    names = (
        "config.yaml",
        "metrics.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "bundle",
        "pictures/ranked_lists.png",
        "logs/metrics.csv",
        "tensorboard",
        "wandb",
    )
    return [run_dir / name for name in names if (run_dir / name).exists()]
