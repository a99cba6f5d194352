"""What the benchmark scripts share: the colour-histogram baseline, the machine's name, tables as JSON and Markdown."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reid_lightning.data.images.reading import load_image
from reid_lightning.data.records import Split, VehicleDataset
from reid_lightning.drawing.tables import markdown_table
from reid_lightning.evaluation.evaluator import embed_pictures
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import RetrievalResult, evaluate_retrieval
from reid_lightning.search import ReIDEmbedder

BINS = 8


def colour_histogram(image: Image.Image, *, space: str) -> np.ndarray:
    """(512,) joint 8x8x8 histogram over "RGB" or "HSV", square roots of shares (Hellinger): length 1."""
    pixels = np.asarray(image.convert(space)).reshape(-1, 3) // (256 // BINS)
    counts = np.bincount(pixels @ np.array([BINS * BINS, BINS, 1]), minlength=BINS**3)
    return np.sqrt(counts / counts.sum())


def evaluate_histogram(dataset: VehicleDataset) -> RetrievalResult:
    """The better of the RGB and the HSV histogram, by mAP: the baseline gets the benefit of the doubt."""

    def embed(images: Split, space: str) -> Tensor:
        rows = [colour_histogram(load_image(image.path), space=space) for image in images]
        return torch.from_numpy(np.stack(rows)).float()

    results = [
        evaluate_retrieval(embed(dataset.query, space), embed(dataset.gallery, space), **ranking_labels(dataset))
        for space in ("RGB", "HSV")
    ]
    return max(results, key=lambda result: result.mAP)


def evaluate_embedder(embedder: ReIDEmbedder, dataset: VehicleDataset) -> RetrievalResult:
    """A model's image-to-image result on the query and gallery pictures of `dataset`."""
    query = embed_pictures(embedder, dataset.query, title="embedding queries")
    gallery = embed_pictures(embedder, dataset.gallery, title="embedding the gallery")
    return evaluate_retrieval(query, gallery, **ranking_labels(dataset))


def result_row(result: RetrievalResult) -> dict[str, str]:
    """Every metric in percent."""
    return {name: f"{100 * value:.1f}" for name, value in result.values().items()}


def report(title: str, rows: Sequence[Mapping[str, str]], folder: Path, *, note: str = "") -> None:
    """Print the rows as a table; write `<title>.json` and `<title>.md` into `folder`."""
    columns = list(rows[0])
    table = Table(title=title, caption=note)
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    Console().print(table)
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    content = {"title": title, "date": today, "machine": machine(), "note": note, "rows": [dict(row) for row in rows]}
    (folder / f"{title}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    lines = markdown_table(columns, [[row[column] for column in columns] for row in rows])
    (folder / f"{title}.md").write_text(f"{lines}\n{note} {machine()}, {today}.\n", encoding="utf-8")


def machine() -> str:
    """Processor, cores, memory, accelerator and torch, for the foot of a table."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{processor}, {os.cpu_count()} cores, {accelerator}, torch {torch.__version__}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
