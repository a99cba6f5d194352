"""Claim: training through the framework costs what a bare torch loop costs, and a step is faster than fast-reid's.

python benchmarks/step.py [device=cpu|gpu] [depth=18] [side=64] [batch=32] [steps=10] [turns=3] [threads=1]
    [fastreid=<clone>] [overrides=[...]] [veri=<folder in VeRi's layout>] [output=benchmarks/results]

The contestants (step_contestants.py) train in turns, each in a process of its own, on one prepared batch of random
pictures. On a CPU the figures are CPU seconds. On a GPU they are wall time, with the share of the card's bfloat16 peak:
    python benchmarks/step.py device=gpu depth=50 side=256 batch=128 steps=100 fastreid=<clone> [overrides=...]
`overrides` are words for train.py, such as [compile=default]; `veri` adds a run that is fed by our loader, whose share
of waiting follows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from contest import Contestant, Score, contest
from omegaconf import OmegaConf
from step_contestants import PER_IDENTITY, Parts, Step, bare, fastreid, ours, run
from torch.utils.flop_counter import FlopCounterMode

PEAKS = {"H100": 989.4e12, "H200": 989.4e12, "A100": 312e12, "B200": 2250e12}  # dense bfloat16 FLOP/s, data sheets
BARE, OURS, LOADED, RIVAL = "bare torch loop", "reid_lightning", "reid_lightning, its loader", "fast-reid"


@cache
def flops_of_a_picture(step: Step) -> float:
    """Floating-point operations of forward and backward, multiplications and additions counted apart."""
    model = Parts.of(Step(step.depth, step.side, 2 * PER_IDENTITY, steps=1, on_gpu=False)).module.model.train()
    images = torch.randn(2, 3, step.side, step.side)
    with FlopCounterMode(display=False) as counter:
        model(images).embeddings.sum().backward()
    return counter.get_total_flops() / len(images)


def main() -> None:
    """Print the contestants' steps, and their ratios."""
    arguments = OmegaConf.from_cli()
    on_gpu = arguments.get("device", "cpu") == "gpu"
    sizes = {"depth": 18, "side": 64, "batch": 32, "steps": 10}
    step = Step(
        **{name: arguments.get(name, default) for name, default in sizes.items()},
        on_gpu=on_gpu,
        overrides=tuple(arguments.get("overrides", ())),
    )
    contestants = [
        Contestant(name, partial(make, step), partial(run, step=step)) for name, make in ((BARE, bare), (OURS, ours))
    ]
    if "veri" in arguments:
        fed = replace(step, veri=arguments.veri)
        contestants.append(Contestant(LOADED, partial(ours, fed, loaded=True), partial(run, step=fed)))
    if "fastreid" in arguments:
        make = partial(fastreid, step, clone=arguments.fastreid)
        contestants.append(Contestant(RIVAL, make, partial(run, step=step)))
    threads, turns = arguments.get("threads", 1), 1 if on_gpu else arguments.get("turns", 3)
    scores = contest(contestants, threads=threads, turns=turns)
    rows = [gpu_row(name, scores, step) if on_gpu else cpu_row(name, scores, step) for name in scores]
    note = f"ResNet{step.depth}-IBN-a, {step.batch} pictures of {step.side} x {step.side}, {threads} thread(s)."
    name = f"step_{'gpu' if on_gpu else 'cpu'}_{step.depth}_{step.side}_{step.batch}"
    report(name, rows, Path(arguments.get("output", "benchmarks/results")), note=note)


def cpu_row(name: str, scores: Mapping[str, Score], step: Step) -> dict[str, str]:
    """CPU seconds: median over the turns."""
    seconds = scores[name].cpu_s
    return {
        "trained by": name,
        "CPU ms a step": f"{1000 * seconds / step.steps:.1f}",
        "images / CPU s": f"{step.steps * step.batch / seconds:.2f}",
        "CPU time / bare loop": f"{seconds / scores[BARE].cpu_s:.3f}",
        "CPU time / reid_lightning": f"{seconds / scores[OURS].cpu_s:.2f}",
    }


def gpu_row(name: str, scores: Mapping[str, Score], step: Step) -> dict[str, str]:
    """Wall time of the turn after the one that compiles and warms up."""
    rate = scores[name].figures["images/s"]
    peak = next((peak for card, peak in PEAKS.items() if card in torch.cuda.get_device_name()), float("nan"))
    share = "" if name == RIVAL else f"{100 * rate * flops_of_a_picture(step) / peak:.1f} %"  # a network of its own
    waits = f"{100 * (1 - rate / scores[OURS].figures['images/s']):.1f} %" if name == LOADED else ""
    return {
        "trained by": name,
        "images/s": f"{rate:.0f}",
        "share of the bfloat16 peak": share,
        "time waiting for data": waits,
        "images/s / bare loop": f"{rate / scores[BARE].figures['images/s']:.3f}",
        "images/s / reid_lightning": f"{rate / scores[OURS].figures['images/s']:.2f}",
    }


if __name__ == "__main__":
    main()
