"""Claim: the bundle's `model.onnx`, which `backend=auto` takes, embeds in half of torch's CPU time, with its numbers.

python benchmarks/embedding_backends.py bundle=<bundle with model.onnx> pictures=<folder> [counts=[1,8,32]] [turns=9]
    [threads=1] [output=benchmarks/results]
Pictures that are decoded already, as those of a video; medians of CPU seconds of whole `embed` calls, in turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from omegaconf import OmegaConf

from reid_lightning.commands.allocator import keep_freed_memory
from reid_lightning.data.images.files import find_pictures
from reid_lightning.data.images.reading import load_image
from reid_lightning.search import load_reid_model


def main() -> None:
    """Print a row a number of pictures."""
    given = {"counts": [1, 8, 32], "turns": 9, "threads": 1, **OmegaConf.from_cli()}
    keep_freed_memory()
    torch.set_num_threads(given["threads"])
    embedders = {backend: load_reid_model(given["bundle"], backend=backend) for backend in ("torch", "onnx")}
    found = find_pictures(Path(given["pictures"]))
    pictures = [load_image(found.folder / name) for name in found.names[: max(given["counts"])]]
    rows = []
    for count in given["counts"]:
        seconds: dict[str, list[float]] = {backend: [] for backend in embedders}
        for turn in range(given["turns"]):
            for backend in seconds if turn % 2 else reversed(seconds):
                began = time.process_time()
                embedders[backend].embed(pictures[:count])
                seconds[backend].append(time.process_time() - began)
        ours, theirs = (statistics.median(seconds[backend][1:]) for backend in ("onnx", "torch"))
        rows.append(
            {
                "pictures a call": str(count),
                "torch, CPU ms": f"{1e3 * theirs:.1f}",
                "ONNX Runtime": f"{ours / theirs:.2f}",
            }
        )
    first, second = (embedder.embed(pictures) for embedder in embedders.values())
    size = embedders["torch"].options.preprocessing
    note = (
        f"{embedders['torch'].options.architecture['backbone']}, {size.height} px, {given['threads']} thread(s), "
        f"{given['turns']} turns; largest difference of a number {float((first - second).abs().max()):.1g}."
    )
    report("embedding_backends", rows, Path(given.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
