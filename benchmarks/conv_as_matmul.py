"""Claim: convolutions of small maps as matrix products save a third of the default training step on a CPU.

python benchmarks/conv_as_matmul.py [side=64] [batch=64] [turns=8] [threads=1] [output=benchmarks/results]

The default network (ResNet18-IBN-a), forward, backward and AdamW, on one batch of noise, with torch's convolutions and
with `models/conv_as_matmul.py` in turns; medians of CPU seconds without the first turn. Both compute the same numbers
but for rounding.
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
from torch import Tensor

from reid_lightning.models import ReIDModel
from reid_lightning.models.conv_as_matmul import use_conv_as_matmul

PLAIN, OURS = "torch's convolutions", "small maps as matrix products"


def main() -> None:
    """Print both, and their ratio."""
    arguments = {"side": 64, "batch": 64, "turns": 8, "threads": 1, **OmegaConf.from_cli()}
    torch.set_num_threads(arguments["threads"])
    images = torch.randn(arguments["batch"], 3, arguments["side"], arguments["side"])
    images = images.contiguous(memory_format=torch.channels_last)
    models = {name: network() for name in (PLAIN, OURS)}
    use_conv_as_matmul(models[OURS])
    steps = {name: Step(model, images) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(arguments["turns"]):
        for name in (PLAIN, OURS) if turn % 2 else (OURS, PLAIN):
            seconds[name].append(steps[name].seconds())
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    rows = [
        {"convolutions": name, "CPU s a step": f"{median:.3f}", "of torch's": f"{median / medians[PLAIN]:.2f}"}
        for name, median in medians.items()
    ]
    note = (
        f"ResNet18-IBN-a, batch {arguments['batch']}, {arguments['side']} px, {arguments['threads']} thread(s), "
        f"{arguments['turns']} turns."
    )
    report("conv_as_matmul", rows, Path(arguments.get("output", "benchmarks/results")), note=note)


def network() -> ReIDModel:
    """With the same random weights each time."""
    torch.manual_seed(0)
    return ReIDModel("resnet18", ibn="a", last_stride=2, pooling="gem").to(memory_format=torch.channels_last).train()


class Step:
    """One training step of a network."""

    def __init__(self, model: ReIDModel, images: Tensor) -> None:
        self._model, self._images = model, images
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def seconds(self) -> float:
        """Take it; the CPU seconds that it took."""
        began = time.process_time()
        self._optimizer.zero_grad()
        self._model(self._images).embeddings.square().sum().backward()
        self._optimizer.step()
        return time.process_time() - began


if __name__ == "__main__":
    main()
