"""Claim: a filter costs a search no more than half of what it costs without one, and what is written costs the next one
only its reading; without a filter a search keeps up with FAISS.

python benchmarks/search_filters.py [vectors=100000] [dim=512] [queries=60] [output=benchmarks/results]
                                    [folder=<the system's temporary one>/search_filters]
The vectors are those of vector_stores.py. `memory`: the embedded store after its first searches, with its copy of all.
`files`: the same with `memory=0`: LanceDB answers by its own indexes (IVF with a byte a number, all partitions, twenty
times top_k compared again; BTREE and BITMAP for the filter). `first`: the store as it comes, opened for each search.
`faiss`, if faiss-cpu can be imported: IndexIVFScalarQuantizer of 8 bits, the fewest partitions
of 1,024 whose recall unfiltered is .99, or all, and a bitmap for the filter. All are asked in turns, query by query, in
one process and thread. 1,000,000 vectors need about 4 GiB of memory and 3 GiB of disk.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS"), "1")
)

import numpy as np
from common import report
from omegaconf import OmegaConf
from vector_stores import HOUR, HOURS, TOP_K, Plan, batches, queries_of, vehicles_between

from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import VectorStore
from reid_lightning.search.stores.opening import open_store

try:
    import faiss
except ImportError:
    faiss = None

TYPES = ("car",) * 14 + ("truck",) * 3 + ("bus",) * 2 + ("van",)
PARTITIONS = 1024
TWELVE = tuple(f"c{number}" for number in range(12))
FILTERS = {
    "none": Filter(),
    "1 camera of 20": Filter(cameras=("c3",)),
    "12 cameras of 20": Filter(cameras=TWELVE),
    "a tenth of the time": Filter(since=0.0, until=HOURS * HOUR / 10),
    "half of the time": Filter(since=0.0, until=HOURS * HOUR / 2),
    "type, 1 in 10": Filter(types=("bus",)),
    "type, 7 in 10": Filter(types=("car",)),
    "one vehicle": Filter(vehicles=("v77",)),
    "12 cameras, cars, half of the time": Filter(cameras=TWELVE, types=("car",), since=0.0, until=HOURS * HOUR / 2),
    "1 camera, a tenth of the time": Filter(cameras=("c3",), since=0.0, until=HOURS * HOUR / 10),
}
MANY = 64  # queries for which the copy is read
Search = Callable[[np.ndarray, str], list[str]]


def drawn(plan: Plan) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
    """Those of vector_stores.py, with types."""
    for number, (records, vectors) in enumerate(batches(plan)):
        kinds = np.random.default_rng((4, number)).integers(0, len(TYPES), len(records)).tolist()
        yield [replace(one, type=TYPES[kind]) for one, kind in zip(records, kinds, strict=True)], vectors


def passing(records: list[VectorRecord], where: Filter) -> np.ndarray:
    """(N,) bool, by a loop."""
    return np.array(
        [
            (where.vehicles is None or one.vehicle in where.vehicles)
            and (where.cameras is None or one.camera in where.cameras)
            and (where.types is None or one.type in where.types)
            and (where.until is None or (where.since or 0) <= (one.time or 0) < where.until)
            for one in records
        ]
    )


def truth_of(plan: Plan, queries: np.ndarray) -> tuple[dict[str, list[set[str]]], dict[str, np.ndarray]]:
    """For each filter the ids of the `TOP_K` best of each query, compared in float32; and which pass, (vectors,)."""
    scores, masks = [], {label: [] for label in FILTERS}
    for records, vectors in drawn(plan):
        scores.append(queries @ vectors.T)
        for label, where in FILTERS.items():
            masks[label].append(passing(records, where))
    joined, passes = np.concatenate(scores, axis=1), {label: np.concatenate(parts) for label, parts in masks.items()}
    best: dict[str, list[set[str]]] = {}
    for label, mask in passes.items():
        places = np.flatnonzero(mask)
        best[label] = [{f"{places[i]:08d}" for i in np.argsort(-row[places])[:TOP_K]} for row in joined]
    return best, passes


def of_store(store: VectorStore) -> Search:
    """The ids that a store finds."""
    return lambda query, label: [
        hit.record.id for hit in store.search(query[None], top_k=TOP_K, where=FILTERS[label])[0]
    ]


def of_faiss(
    plan: Plan, passes: dict[str, np.ndarray], queries: np.ndarray, best: list[set[str]]
) -> tuple[Search, int]:
    """And the number of partitions that it looks at."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(plan.dim), plan.dim, PARTITIONS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vehicles_between(plan, 0, min(plan.vectors, 40 * PARTITIONS)))  # the vehicles are in no order
    for _, vectors in batches(plan):
        index.add(vectors)
    bits = {label: np.packbits(mask, bitorder="little") for label, mask in passes.items()}
    looked = PARTITIONS

    def search(query: np.ndarray, label: str) -> list[str]:
        chosen = {} if label == "none" else {"sel": faiss.IDSelectorBitmap(bits[label])}
        _, found = index.search(query[None], TOP_K, params=faiss.SearchParametersIVF(nprobe=looked, **chosen))
        return [f"{place:08d}" for place in found[0] if place >= 0]

    for looked in (8, 16, 32, 64, 128, 256, 512, 640, 768, 896, PARTITIONS):  # noqa: B007
        right = [len(set(search(query, "none")) & ids) for query, ids in zip(queries, best, strict=True)]
        if sum(right) >= 0.99 * TOP_K * len(queries):
            break
    return search, looked


def measured(
    searches: dict[str, Search], queries: np.ndarray, best: dict[str, list[set[str]]]
) -> dict[tuple[str, str], dict[str, float]]:
    """Figures of each engine and filter."""
    spent: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for number, query in enumerate([queries[0], *queries]):  # the first one opens files and fills caches
        for label in FILTERS:
            for name, search in searches.items():
                wall, cpu = time.perf_counter(), time.process_time()
                found = search(query, label)
                used = time.process_time() - cpu, time.perf_counter() - wall
                if number:
                    right = len(set(found) & best[label][number - 1])
                    spent.setdefault((name, label), []).append((*used, right))
    figures = {}
    for key, values in spent.items():
        cpus, walls, rights = zip(*values, strict=True)
        possible = sum(map(len, best[key[1]]))
        figures[key] = {
            "recall": sum(rights) / max(1, possible),
            "cpu": float(np.median(cpus)),
            "p50": float(np.percentile(walls, 50)),
            "p99": float(np.percentile(walls, 99)),
        }
    return figures


def after_writes(plan: Plan, folder: str, reader: VectorStore, queries: np.ndarray) -> dict[str, float]:
    """CPU seconds of the search after another one's write, the median of ten."""
    writer = open_store(folder, fingerprint="benchmark", dim=plan.dim, name="benchmark", memory=0)
    extra = vehicles_between(plan, plan.vectors, plan.vectors + 16)
    found: dict[str, list[float]] = {"8 vectors inserted": [], "8 vectors deleted": []}
    for query in queries[:10]:
        for change, spent in found.items():
            records = [VectorRecord(f"x{row}", "s", "new", "c3", "car", 1.0) for row in range(8)]
            if "inserted" in change:
                writer.upsert(records, extra[:8])
            else:
                writer.delete([one.id for one in records])
            started = time.process_time()
            reader.search(query[None], top_k=TOP_K)
            spent.append(time.process_time() - started)
    return {change: float(np.median(spent)) for change, spent in found.items()}


def main() -> None:
    """Measure and print one table."""
    arguments = OmegaConf.from_cli()
    plan = Plan(arguments.get("vectors", 100_000), arguments.get("dim", 512), arguments.get("queries", 60))
    folder = Path(arguments.get("folder", Path(tempfile.gettempdir()) / "search_filters"), f"{plan.vectors}x{plan.dim}")
    place = {"uri": str(folder), "fingerprint": "benchmark", "dim": plan.dim, "name": "benchmark"}
    files = open_store(**place, memory=0)
    if files.count() != plan.vectors:
        files.replace(drawn(plan))
        files.optimize()
    queries = queries_of(plan)
    best, passes = truth_of(plan, queries)
    memory = open_store(**place)
    started = time.process_time()
    memory.search(np.repeat(queries[:1], MANY, axis=0), top_k=TOP_K)
    loading = time.process_time() - started
    searches = {"memory": of_store(memory), "files": of_store(files)}
    searches["first"] = lambda query, label: of_store(open_store(**place))(query, label)
    looked = 0
    if faiss is not None:
        searches["faiss"], looked = of_faiss(plan, passes, queries, best["none"])
    figures = measured(searches, queries, best)
    rows = [
        {
            "engine": name,
            "filter": label,
            "passes": f"{passes[label].mean():.4f}",
            "recall@5": f"{values['recall']:.3f}",
            "CPU ms": f"{1000 * values['cpu']:.1f}",
            "times unfiltered": f"{values['cpu'] / figures[name, 'none']['cpu']:.2f}",
            "p50 ms": f"{1000 * values['p50']:.1f}",
            "p99 ms": f"{1000 * values['p99']:.1f}",
        }
        for name in searches
        for label in FILTERS
        for values in [figures[name, label]]
    ]
    writes = after_writes(plan, str(folder), memory, queries)
    said = "; ".join(f"{change} {1000 * seconds:.1f}" for change, seconds in writes.items())
    note = (
        f"{plan.vectors:,} vectors of {plan.dim} numbers, {len(queries)} queries one by one, one thread, the medians; "
        f"FAISS looks at {looked} of {PARTITIONS} partitions. CPU ms of the next search by `memory` after a write of "
        f"another store object: {said}; reading the whole copy once: {loading:.2f} s."
    )
    title = "search_filters" if plan.vectors == 100_000 else f"search_filters_{plan.vectors}"
    report(title, rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
