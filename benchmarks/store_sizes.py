"""Claim: what a folder of vectors costs, to build, on disk, in memory, a query, grows no faster than its size.

python benchmarks/store_sizes.py [sizes=[10000,100000,1000000,5000000]] [dim=512] [queries=30]
    [folder=<the system's temporary one>/store_sizes] [output=benchmarks/results]
The vectors are those of vector_stores.py, which the embedded store leaves in its files (`memory=0`), where LanceDB maps
them. Filling, indexing and searching are processes of their own; memory is what each holds itself (RssAnon) at its
most, without pages of files, which the system may drop. A size whose figures lie in `folder` is not measured again.
The last rows are calculated: the line through the two largest sizes. 5,000,000 vectors need 10 GB of disk and an hour.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS"), "1")
)

import numpy as np
from common import report
from omegaconf import OmegaConf
from vector_stores import TOP_K, Plan, batches, queries_of

from benchmarks.processes import own_memory
from reid_lightning.search.records import Filter
from reid_lightning.search.stores.base import VectorStore
from reid_lightning.search.stores.opening import open_store

CALCULATED = (10_000_000, 100_000_000)
FILTERS = {"none": Filter(), "1 camera of 20": Filter(cameras=("c3",))}
Figures = dict[str, float]


def opened(plan: Plan, folder: Path) -> VectorStore:
    """The store, which keeps no copy in memory."""
    return open_store(str(folder), fingerprint="benchmark", dim=plan.dim, name="benchmark", memory=0)


@contextmanager
def spent(name: str, figures: Figures) -> Iterator[None]:
    """CPU seconds of this process, and the most MiB of its own."""
    most, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            most[0] = max(most[0], own_memory(os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    try:
        yield
    finally:
        figures[f"{name} cpu"] = time.process_time() - began
        ended.set()
        watcher.join()
        figures[f"{name} memory"] = max(most[0], own_memory(os.getpid()))


def fill(plan: Plan, folder: Path) -> Figures:
    """Insert; drawing does not count."""
    figures: Figures = {}
    store, used = opened(plan, folder), 0.0
    for records, vectors in batches(plan):
        began = time.process_time()
        store.upsert(records, vectors)
        used += time.process_time() - began
    figures["insert cpu"] = used
    return figures


def build(plan: Plan, folder: Path) -> Figures:
    """Join small files, make the indexes."""
    figures: Figures = {}
    store = opened(plan, folder)
    with spent("build", figures):
        store.optimize()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {**figures, "disk": size / 2**20}


def search(plan: Plan, folder: Path) -> Figures:
    """Queries one by one, and how many of the best five of all they find."""
    queries, figures = queries_of(plan), Figures()
    best = _best(plan, queries)
    store = opened(plan, folder)
    with spent("search", figures):
        for name, where in FILTERS.items():
            times, right = [], 0
            for number, query in enumerate([queries[0], *queries]):  # the first one opens files and fills caches
                began = time.process_time()
                (hits,) = store.search(query[None], top_k=TOP_K, where=where)
                if number:
                    times.append(time.process_time() - began)
                    right += len({hit.record.id for hit in hits} & best[number - 1])
            figures[name] = float(np.median(times))
            if name == "none":
                figures["recall"] = right / sum(map(len, best))
    return figures


def _best(plan: Plan, queries: np.ndarray) -> list[set[str]]:
    """For each query the ids of the `TOP_K` best."""
    scores = np.empty((len(queries), 0), np.float32)
    places = np.empty((len(queries), 0), np.int64)
    start = 0
    for _, vectors in batches(plan):
        rows = np.arange(start, start + len(vectors))
        scores = np.concatenate([scores, queries @ vectors.T], axis=1)
        places = np.concatenate([places, np.broadcast_to(rows, (len(queries), len(rows)))], axis=1)
        first = np.argsort(-scores, axis=1)[:, :TOP_K]
        scores, places = np.take_along_axis(scores, first, 1), np.take_along_axis(places, first, 1)
        start += len(vectors)
    return [{f"{place:08d}" for place in row} for row in places]


def _child(work: Callable[[Plan, Path], Figures], plan: Plan, folder: Path, file: Path) -> None:
    file.write_text(json.dumps(work(plan, folder)), encoding="utf-8")


def measured(plan: Plan, folder: Path) -> Figures:
    """All figures of a size."""
    figures: Figures = {}
    for work in (fill, build, search):
        file = folder / f"{plan.vectors}_{work.__name__}.json"
        if not file.exists():
            process = multiprocessing.get_context("spawn").Process(
                target=_child, args=(work, plan, folder / f"{plan.vectors}", file)
            )
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{work.__name__} of {plan.vectors:,} vectors ended with {process.exitcode}.")
        figures |= json.loads(file.read_text(encoding="utf-8"))
    return figures


def calculated(found: Mapping[int, Figures], vectors: int) -> Figures:
    """On the line through the two largest sizes."""
    small, large = sorted(found)[-2:]
    share = (vectors - large) / (large - small)
    return {name: value + share * (value - found[small][name]) for name, value in found[large].items()}


def row(label: str, figures: Figures) -> dict[str, str]:
    """A line of the table."""
    return {
        "vectors": label,
        "inserting, CPU s": f"{figures['insert cpu']:,.1f}",
        "index, CPU s": f"{figures['build cpu']:,.0f}",
        "index, MiB": f"{figures['build memory']:,.0f}",
        "disk, MiB": f"{figures['disk']:,.0f}",
        "query, CPU ms": f"{1000 * figures['none']:,.1f}",
        "one camera of 20": f"{1000 * figures['1 camera of 20']:,.1f}",
        "recall@5": f"{figures['recall']:.3f}" if "calculated" not in label else "",
        "searching, MiB": f"{figures['search memory']:,.0f}",
    }


def main() -> None:
    """Measure, and write a table."""
    defaults = {
        "sizes": [10_000, 100_000, 1_000_000, 5_000_000],
        "dim": 512,
        "queries": 30,
        "folder": str(Path(tempfile.gettempdir()) / "store_sizes"),
        "output": "benchmarks/results",
    }
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[int, Figures] = {}
    for size in sorted(cfg.sizes):
        found[size] = measured(Plan(size, cfg.dim, cfg.queries), folder)
        rows = [row(f"{one:,}", figures) for one, figures in found.items()]
        if size == max(cfg.sizes) and len(found) > 1:
            rows += [row(f"{one:,} (calculated)", calculated(found, one)) for one in CALCULATED if one > size]
        note = f"{cfg.dim} numbers, {cfg.queries} queries one by one, one thread."
        report("store_sizes", rows, Path(cfg.output), note=note)


if __name__ == "__main__":
    main()
