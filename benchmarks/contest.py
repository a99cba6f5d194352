"""Contestants in turns: each lives in a process of its own, so that its CPU time and its peak memory are its own.

CPU seconds of all threads, because these machines are shared; ratios of medians, because absolute times mean nothing.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """`prepare()` makes what `run(prepared)` is timed on; `run` returns the figures to compare (mAP, ...).

    Both must be functions of a module (or partials of such), because they travel to another process.
    """

    name: str
    prepare: Callable[[], Any]
    run: Callable[[Any], Mapping[str, float]]


@dataclass(frozen=True)
class Score:
    """Median CPU seconds and MiB above what was there before, over the turns of one contestant, and its figures."""

    cpu_s: float
    peak_mib: float
    figures: Mapping[str, float]


def contest(
    contestants: Sequence[Contestant], *, threads: int, turns: int = 3, warm_up: bool = True
) -> dict[str, Score]:
    """Run all contestants `turns` times, one after the other in each turn, after one turn that does not count."""
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    context = multiprocessing.get_context("spawn")
    workers = []
    for contestant in contestants:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(contestant, threads, theirs), daemon=True)
        process.start()
        theirs.close()
        workers.append((contestant.name, process, ours))
    came: dict[str, list[tuple[float, float, Mapping[str, float]]]] = {one.name: [] for one in contestants}
    console = Console(stderr=True)
    for turn in range(0 if warm_up else 1, turns + 1):
        for name, _, pipe in workers:
            pipe.send("run")
            result = pipe.recv()
            if isinstance(result, str):
                raise RuntimeError(f"{name} failed:\n{result}")
            console.print(f"[dim]{threads} threads, turn {turn} of {turns}: {name} {result[0]:.2f} CPU s[/dim]")
            if turn > 0:
                came[name].append(result)
    for _, process, pipe in workers:
        pipe.send("stop")
        process.join()
    return {
        name: Score(
            cpu_s=statistics.median(turn[0] for turn in results),
            peak_mib=statistics.median(turn[1] for turn in results),
            figures=results[0][2],
        )
        for name, results in came.items()
    }


def _work(contestant: Contestant, threads: int, pipe: Connection) -> None:
    try:
        torch.set_num_threads(threads)
        prepared = contestant.prepare()
        while pipe.recv() == "run":
            gc.collect()
            before = _memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
            started = time.process_time()
            figures = contestant.run(prepared)
            seconds = time.process_time() - started
            pipe.send((seconds, _memory("VmHWM") - before, dict(figures)))
    except Exception as error:
        import traceback

        pipe.send("".join(traceback.format_exception(error)))


def _memory(field: str) -> float:
    """MiB of a line of this process's /proc status."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@dataclass(frozen=True)
class Embeddings:
    """Drawn embeddings with the sizes of a published data set."""

    query: torch.Tensor
    gallery: torch.Tensor
    query_ids: torch.Tensor
    gallery_ids: torch.Tensor
    query_cameras: torch.Tensor
    gallery_cameras: torch.Tensor


def draw_embeddings(
    *, queries: int, gallery: int, dim: int, identities: int, cameras: int, noise: float, seed: int = 0
) -> Embeddings:
    """Unit vectors around a centre for each identity, moved by each camera; `noise` decides how hard the ranking is."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(identities, dim, generator=generator)
    offsets = torch.randn(cameras, dim, generator=generator)

    def side(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ids = torch.arange(count) % identities
        cams = torch.randint(0, cameras, (count,), generator=generator)
        vectors = torch.empty(count, dim).normal_(generator=generator)
        vectors.mul_(noise).add_(centres[ids]).add_(offsets[cams], alpha=0.5)
        return torch.nn.functional.normalize(vectors, out=vectors), ids, cams

    query, query_ids, query_cameras = side(queries)
    rows, gallery_ids, gallery_cameras = side(gallery)
    return Embeddings(query, rows, query_ids, gallery_ids, query_cameras, gallery_cameras)


veri = partial(draw_embeddings, queries=1678, gallery=11579, dim=2048, identities=200, cameras=20, noise=3.45)
"""VeRi-776's size."""
veri_wild = partial(draw_embeddings, gallery=138517, dim=512, identities=10000, cameras=174, noise=1.95)
"""VERI-Wild large's size, but for the number of queries."""
