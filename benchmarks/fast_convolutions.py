"""Claim: a training step on a CPU computes the same numbers in less time by what we do to convolutions and to memory.

python benchmarks/fast_convolutions.py [batch=64] [turns=8] [threads=1] [output=benchmarks/results]

Forward, backward and AdamW on one batch of noise, in three processes in turns: torch's convolutions; with memory that
is used again (`commands/allocator.py`); and with ours, too. Medians of CPU seconds without the first turn. ResNet18 at
64 px: maps of a few positions as matrix products (`conv_as_matmul.py`). EfficientNet-Lite0 at 96 px, its statistics
frozen: each norm within the convolution before it (`folded_norms.py`), and the gradient of 5 x 5 kernels on maps of
3 x 3 (`depthwise_gradient.py`).
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from omegaconf import OmegaConf
from torch import Tensor, nn

from reid_lightning.commands.allocator import keep_freed_memory
from reid_lightning.commands.parts import use_fast_convolutions
from reid_lightning.models import ReIDModel

TORCHS, MEMORY, OURS = "torch's", "memory used again", "ours"
LITE0 = {"ibn": None, "last_stride": 2, "levels": [4, 5, 6, 7], "embedding_dim": 512, "pretrained": "wheel"}
NETWORKS = {
    "ResNet18-IBN-a": (64, {"backbone": "resnet18", "ibn": "a", "last_stride": 2}),
    "EfficientNet-Lite0": (96, {"backbone": "tf_efficientnet_lite0", "frozen_statistics": True, **LITE0}),
}


def main() -> None:
    """Print what each way takes of the first one's time."""
    given = {"batch": 64, "turns": 8, "threads": 1, **OmegaConf.from_cli()}
    rows = []
    for name, (side, _) in NETWORKS.items():
        seconds: dict[str, list[float]] = {way: [] for way in (TORCHS, MEMORY, OURS)}
        spawn = multiprocessing.get_context("spawn")
        processes = {
            way: ProcessPoolExecutor(
                1, mp_context=spawn, initializer=prepare, initargs=(name, way, given["batch"], given["threads"])
            )
            for way in seconds
        }
        for turn in range(given["turns"]):
            for way in seconds if turn % 2 else reversed(seconds):
                seconds[way].append(processes[way].submit(step).result())
        for process in processes.values():
            process.shutdown()
        medians = {way: statistics.median(values[1:]) for way, values in seconds.items()}
        theirs = medians[TORCHS]
        ratios = {way: f"{median / theirs:.2f}" for way, median in medians.items()}
        rows.append({"network": name, "side": str(side), "torch's, CPU s a step": f"{theirs:.3f}", **ratios})
    note = f"Batch {given['batch']}, {given['threads']} thread(s), {given['turns']} turns."
    report("fast_convolutions", rows, Path(given.get("output", "benchmarks/results")), note=note)


def prepare(name: str, way: str, batch: int, threads: int) -> None:
    """A network in training and a batch for it, in this process."""
    global _taken
    if way != TORCHS:
        keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    side, settings = NETWORKS[name]
    model = ReIDModel(**settings)  # type: ignore[arg-type]
    model = use_fast_convolutions(model) if way == OURS else model.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    _taken = Step(model.train(), images)


class Step:
    """One training step of a network."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self._images = model, images
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def seconds(self) -> float:
        """Take it; the CPU seconds that it took."""
        began = time.process_time()
        self._optimizer.zero_grad()
        self._model(self._images).embeddings.square().sum().backward()
        self._optimizer.step()
        return time.process_time() - began


_taken: Step


def step() -> float:
    """CPU seconds of a step in this process."""
    return _taken.seconds()


if __name__ == "__main__":
    main()
