"""What a million crops cost: processor time to embed them, bytes to keep them. docs/scale.md calculates with it.

python benchmarks/costs.py [bundle=<of `make train`>] [gallery=<a registered gallery>] [count=64] [turns=3] [threads=1]
    [output=benchmarks/results]
The bundle with its model.onnx, and networks with random weights (which changes nothing in their speed), embed `count`
pictures of 160 x 128 pixels, already decoded, in batches of 32, with torch and with ONNX Runtime in turns; CPU time of
this process, medians. Bytes of crops and sidecars are the mean of `gallery`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from omegaconf import OmegaConf
from rich.progress import track

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.bundle.exporters import export_file
from reid_lightning.data.images.formats import IMAGE_SUFFIXES
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search import Embedder, load_reid_model

NETWORKS = {"ResNet18-IBN-a": ("resnet18", 64, 2), "ResNet50-IBN-a": ("resnet50", 256, 1)}
MILLION = 1_000_000
HOUR = 3600


def of_bundle(folder: Path, *, threads: int) -> dict[str, Embedder]:
    """A trained model for both backends."""
    return {
        "torch": load_reid_model(folder, device="cpu", backend="torch"),
        "ONNX Runtime": load_reid_model(folder, device="cpu", backend="onnx", threads=threads),
    }


def embedders(network: str, folder: Path, *, threads: int) -> dict[str, Embedder]:
    """The same untrained network for both backends."""
    backbone, side, last_stride = NETWORKS[network]
    torch.manual_seed(0)
    model = ReIDModel(backbone, ibn="a", last_stride=last_stride).eval()
    preprocessing = Preprocessing(side, side)
    bundle = save_bundle(folder / network, model, preprocessing, metrics={}, data={})
    export_file(model, preprocessing, kind="onnx", folder=bundle)
    return of_bundle(bundle, threads=threads)


def seconds_a_crop(contestants: dict[str, Embedder], pictures: list[np.ndarray], *, turns: int) -> dict[str, float]:
    """Median CPU seconds a picture of each backend, in turns, after one turn that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in track(range(turns + 1), description="embedding"):
        for name, embedder in contestants.items():
            started = time.process_time()
            embedder.embed(pictures)
            if turn:
                times[name].append((time.process_time() - started) / len(pictures))
    return {name: statistics.median(values) for name, values in times.items()}


def bytes_a_crop(gallery: Path) -> float:
    """Pictures and sidecars of a gallery, without its index, over its pictures."""
    files = [path for folder in gallery.iterdir() if not folder.name.startswith(".") for path in folder.rglob("*.*")]
    pictures = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in files)
    return sum(path.stat().st_size for path in files) / pictures


def main() -> None:
    """Measure and print a line a network."""
    given = OmegaConf.from_cli()
    threads = given.get("threads", 1)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (128, 160, 3), dtype=np.uint8) for _ in range(given.get("count", 64))]
    kept = bytes_a_crop(Path(given.gallery)) if "gallery" in given else None
    rows = []
    for network in [*(["bundle"] if "bundle" in given else []), *NETWORKS]:
        with tempfile.TemporaryDirectory() as folder:
            if network == "bundle":
                contestants = of_bundle(Path(given.bundle), threads=threads)
            else:
                contestants = embedders(network, Path(folder), threads=threads)
            times = seconds_a_crop(contestants, pictures, turns=given.get("turns", 3))
        dim, side = contestants["torch"].embedding_dim, contestants["torch"].preprocessing.height
        label = contestants["torch"].options.architecture["backbone"] if network == "bundle" else network
        for name, seconds in times.items():
            rows.append(
                {
                    "network": f"{label}, {side} px, {name}",
                    "CPU ms a crop": f"{1000 * seconds:.1f}",
                    "CPU hours a million": f"{seconds * MILLION / HOUR:.1f}",
                    "numbers": f"{dim:,}",
                    "GB of vectors a million": f"{4 * dim * MILLION / 1e9:.1f}",
                    "GB of crops a million": "" if kept is None else f"{kept * MILLION / 1e9:.1f}",
                }
            )
    note = f"{len(pictures)} pictures of 160 x 128 pixels in batches of 32, {threads} thread(s)."
    report("costs", rows, Path(given.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
