"""Adapt a bundle to pictures without labels: `reid adapt source=<folder of crops> [bundle=starter]`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from reid_lightning.atomic import check_writable
from reid_lightning.bundle.bundle import VALIDATION_MAP, load, save_bundle
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.bundle.loading import best_device, find_bundle
from reid_lightning.bundle.starter import MEASURED
from reid_lightning.commands.entry_point import save_config
from reid_lightning.data.images.files import find_pictures
from reid_lightning.data.images.reading import load_image
from reid_lightning.drawing.tables import print_written
from reid_lightning.errors import ReIDError
from reid_lightning.models.whitening import adapted
from reid_lightning.search.gallery.reader import GalleryReader

_BATCH = 64
_FEW = 100
_OF_BEFORE = ("adaptation", "better", MEASURED, VALIDATION_MAP)


def adapt(cfg: DictConfig) -> None:
    """Embed the pictures, move the model to them and write it as a bundle into the run directory."""
    run_dir, console = Path(cfg.run_dir), Console()
    check_writable(run_dir)
    paths = _pictures(cfg)
    source = load(find_bundle(cfg.bundle), None)
    embedder = ReIDEmbedder(source, device=best_device(cfg.device))
    save_config(cfg, run_dir)
    parts = [paths[start : start + _BATCH] for start in range(0, len(paths), _BATCH)]
    embeddings, unreadable = [], 0
    for part in track(parts, description=f"embedding {len(paths):,} pictures", console=console, transient=True):
        pictures = list(_readable(part))
        unreadable += len(part) - len(pictures)
        embeddings.append(embedder.embed(pictures, normalize=False))
    embedded = torch.cat(embeddings)
    if len(embedded) < 2:
        raise ReIDError(f"{unreadable:,} of {len(paths):,} pictures cannot be read; expected two that can.")
    model = adapted(source.model.cpu(), embedded, share=cfg.share)
    options = source.options
    adaptation = f"moved to {len(embedded):,} pictures without labels, share {cfg.share:g}"
    history = {key: value for key, value in options.data.items() if key not in _OF_BEFORE}
    folder = save_bundle(
        run_dir / "bundle",
        model,
        options.preprocessing,
        metrics={},
        data={**history, "adaptation": adaptation, "before": options.fingerprint},
    )
    left_out = f", {unreadable:,} unreadable ones left out" if unreadable else ""
    console.print(f"{len(embedded):,} pictures{left_out}: a new model, {source.options.fingerprint} before.")
    if len(embedded) < _FEW:
        console.print(f"Fewer than {_FEW} pictures say little of a place; some hundred of all cameras are better.")
    console.print(
        "Its figures and its threshold are others now: evaluate it where you have labels "
        "(store_threshold=true), and give a gallery its vectors again: reid gallery rebuild bundle=<bundle>.",
        soft_wrap=True,
    )
    print_written(console, [folder, run_dir / "config.yaml"])


def _pictures(cfg: DictConfig) -> list[Path]:
    """Of the folder or the gallery, at most cfg.most. ReIDError: none or both are named, or there are too few."""
    if (cfg.source is None) == (cfg.gallery is None):
        raise ReIDError("expected one of source=<folder of crops> and gallery=<folder>, whose crops are looked at")
    if cfg.source is not None:
        folder = Path(cfg.source)
        if not folder.is_dir():
            raise ReIDError(f"source={folder} is no folder; expected one of crops, one vehicle a picture.")
        paths = [folder / name for name in find_pictures(folder).names]
    else:
        reader = GalleryReader(cfg.gallery)
        found: Iterator[Path] = (path for one in reader.sightings() for path in reader.crop_paths(one))
        paths = list(found)
    if min(len(paths), cfg.most) < 2:
        where = cfg.source or cfg.gallery
        raise ReIDError(f"{where} holds {len(paths)} pictures, most={cfg.most}; expected two, better hundreds.")
    chosen = np.random.default_rng(0).permutation(len(paths))[: cfg.most]
    return [paths[position] for position in sorted(chosen)]


def _readable(paths: list[Path]) -> Iterator[Image.Image]:
    for path in paths:
        try:
            yield load_image(path)
        except ReIDError:
            continue
