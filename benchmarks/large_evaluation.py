"""Claim: `reid evaluate` ranks a gallery whose embeddings are more than the memory that it takes.

python benchmarks/large_evaluation.py [queries=10000] [gallery=[100000,1000000]] [dim=512] [scratch=<folder>]
    [output=benchmarks/results] [name=large_evaluation]
Drawn embeddings in files of 50,000 as `reid embed` leaves them; `scratch` takes four times their size. Memory is what
the process holds itself (RssAnon) at its most, without the pages of files that the system keeps and may drop. The floor
is one matrix product of all pairs, by a tenth of the queries; an evaluation goes through all pairs six times: ranks, a
threshold's pairs twice, pairs of cameras, lists, the curve of precision and recall.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from omegaconf import OmegaConf

from benchmarks.processes import own_memory
from reid_lightning.ranking.files import PIECES, piece_file, read_embeddings, write_embeddings
from reid_lightning.ranking.table import EmbeddingTable

PICTURES, CAMERAS = 10, 20  # of a vehicle; in all
ROWS = 50_000  # a file
NOISE = 3.0
KINDS = 4096


def drawn(start: int, rows: int, vehicles: int, dim: int, *, seed: int) -> EmbeddingTable:
    """Pictures `start` to `start + rows`, each of the vehicle of its number: a mixture of vectors that many share."""
    chance = torch.Generator().manual_seed(seed)
    kinds = torch.randn(KINDS, dim, generator=torch.Generator().manual_seed(5))
    vehicle = torch.arange(start, start + rows) % vehicles
    parts = (vehicle * 2654435761 % KINDS, (vehicle * 40503 + 7) % KINDS, (vehicle // KINDS * 97 + vehicle) % KINDS)
    centre = kinds[parts[0]] + 0.8 * kinds[parts[1]] + 0.6 * kinds[parts[2]]
    embeddings = torch.nn.functional.normalize(centre + NOISE * torch.randn(rows, dim, generator=chance))
    cameras = torch.randint(CAMERAS, (rows,), generator=chance).tolist()
    names = tuple(f"{seed}-{start + row:08d}.jpg" for row in range(rows))
    identities = tuple(f"v{number:07d}" for number in vehicle.tolist())
    return EmbeddingTable(embeddings, identities, tuple(f"c{camera:02d}" for camera in cameras), None, names, "drawn")


def write(folder: Path, queries: int, gallery: int, dim: int) -> tuple[Path, Path]:
    """Both sides' files."""
    (folder / "gallery").mkdir()
    vehicles = max(1, gallery // PICTURES)
    starts = range(0, gallery, ROWS)
    for number, start in enumerate(starts):
        rows = min(ROWS, gallery - start)
        table = drawn(start, rows, vehicles, dim, seed=number)
        write_embeddings(folder / "gallery" / piece_file(number), table)
    (folder / "gallery" / PIECES).write_text(json.dumps({"files": len(starts)}), encoding="utf-8")
    query = write_embeddings(folder / "query.safetensors", drawn(0, queries, vehicles, dim, seed=len(starts)))
    return query, folder / "gallery"


def evaluate(query: Path, gallery: Path, folder: Path) -> dict[str, float]:
    """What the command takes: CPU seconds, and MiB at most of its own memory."""
    command = [sys.executable, "evaluate.py", f"query_embeddings={query}", f"gallery_embeddings={gallery}"]
    before, most = _children(), 0.0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"hydra.run.dir={folder / 'run'}"], stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, own_memory(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit((folder / "log").read_text(encoding="utf-8"))
    result = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    return {"cpu": _children() - before, "memory": most, "mAP": result["mAP"]}


def floor(query: Path, gallery: Path) -> float:
    """CPU seconds of one product of all pairs."""
    queries, rows = (read_embeddings(side).embeddings.numpy() for side in (query, gallery))
    few = queries[: max(1, len(queries) // 10)]
    size = max(1, (1 << 27) // len(rows))
    out = np.empty((min(size, len(few)), len(rows)), dtype=np.float32)
    began = time.process_time()
    for start in range(0, len(few), size):
        part = few[start : start + size]
        np.dot(part, rows.T, out=out[: len(part)])
    return (time.process_time() - began) * len(queries) / len(few)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Draw, evaluate, report."""
    arguments = OmegaConf.from_cli(sys.argv[1:])
    queries, dim = int(arguments.get("queries", 10_000)), int(arguments.get("dim", 512))
    sizes = OmegaConf.to_object(arguments)
    assert isinstance(sizes, dict)
    rows = []
    for gallery in sizes.get("gallery", [100_000, 1_000_000]):
        with tempfile.TemporaryDirectory(dir=arguments.get("scratch")) as scratch:
            sides = write(Path(scratch), queries, gallery, dim)
            bare = floor(*sides)
            found = evaluate(*sides, Path(scratch))
        rows.append(
            {
                "queries": f"{queries:,}",
                "gallery": f"{gallery:,}",
                "embeddings MiB": f"{gallery * dim * 4 / 2**20:,.0f}",
                "own memory MiB": f"{found['memory']:,.0f}",
                "CPU s": f"{found['cpu']:,.0f}",
                "one product CPU s": f"{bare:,.0f}",
                "ratio": f"{found['cpu'] / bare:.1f}",
                "mAP": f"{100 * found['mAP']:.1f}",
            }
        )
        report(
            str(arguments.get("name", "large_evaluation")),
            rows,
            Path(arguments.get("output", "benchmarks/results")),
            note=f"{dim} numbers, {PICTURES} pictures a vehicle, {CAMERAS} cameras, one run.",
        )


if __name__ == "__main__":
    main()
