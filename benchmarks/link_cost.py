"""Claim: 100,000 sightings are linked in minutes and bounded memory on two cores, and some more in seconds.

python benchmarks/link_cost.py [sightings=100000] [more=100] [cameras=20] [dim=512] [output=benchmarks/results]
    [name=link_cost]
Vectors drawn at random: vehicles of 300 kinds, five pictures a sighting, four sightings a vehicle, each camera with
a direction of its own, over a week; a fifth of the sightings have a plate. All is what `reid link` does but for
opening the gallery's index: vectors are given in pieces as a store gives them, comparisons are written and read again.
Each step is a process of its own; memory is the most that it held beyond what it had after its imports.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import report
from omegaconf import OmegaConf

from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking import comparisons, links
from reid_lightning.search.linking.answers import FOLDER, Answers
from reid_lightning.search.linking.problem import LinkOptions, problem_of
from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.records import VectorRecord

PICTURES, A_VEHICLE, KINDS, WEEK = 5, 4, 300, 604_800.0
PIECE = 4096


def drawn(count: int, cameras: int) -> list[Seen]:
    """Sightings; number n is of vehicle n // A_VEHICLE."""
    random = np.random.default_rng(0)
    start = random.uniform(0, WEEK, count)
    camera = random.integers(0, cameras, count)
    has_plate = random.random(count) < 0.2
    return [
        Seen(
            f"{number:016x}",
            f"unknown-{number:016x}",
            f"camera {camera[number]}",
            "car",
            float(start[number]),
            float(start[number]) + 5.0,
            f"P{number // A_VEHICLE:06d}" if has_plate[number] else None,
            0.95 if has_plate[number] else 0.0,
        )
        for number in range(count)
    ]


def pieces(seen: list[Seen], dim: int) -> Iterator[tuple[list[VectorRecord], np.ndarray]]:
    """Vectors as a store gives them."""
    random = np.random.default_rng(1)
    kinds = random.standard_normal((KINDS, dim)).astype(np.float32)
    lights = 0.4 * random.standard_normal((64, dim)).astype(np.float32)
    a_piece = PIECE // PICTURES
    for first in range(0, len(seen), a_piece):
        rows, records = [], []
        for number in range(first, min(first + a_piece, len(seen))):
            own = np.random.default_rng([2, number // A_VEHICLE]).standard_normal(dim, dtype=np.float32)
            vehicle = kinds[number // A_VEHICLE % KINDS] + own + lights[int(seen[number].camera.split()[1])]
            rows.append(vehicle + 0.45 * random.standard_normal((PICTURES, dim), dtype=np.float32))
            one = seen[number]
            records += [
                VectorRecord(f"{one.id}-{k}", one.id, one.vehicle, one.camera, one.type) for k in range(PICTURES)
            ]
        vectors = np.concatenate(rows)
        yield records, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def step(root: Path, count: int, cameras: int, dim: int) -> None:
    """Link `count` sightings; prints CPU seconds and MiB of each part."""
    seen = drawn(count, cameras)
    (root / FOLDER).mkdir(exist_ok=True)
    base, last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    parts = []

    def done(name: str) -> None:
        nonlocal last
        now = time.process_time()
        parts.append(f"{name}={now - last:.2f}")
        last = now

    vectors = SightingVectors(pieces(seen, dim), wanted=[one.id for one in seen], dim=dim, folder=root / FOLDER)
    done("vectors")
    names = {one.id: one.camera for one in seen}
    made, new = comparisons.brought_up_to_date(
        comparisons.read(root), vectors, [names[one] for one in vectors.ids], model="drawn", least=0.4
    )
    done("compared")
    problem = problem_of(seen, made, Answers(root), LinkOptions(0.7))
    vehicles = links.named(problem.vehicles())
    done("grouped")
    comparisons.keep(root, made)
    done("kept")
    most = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
    right = sum(len({int(one, 16) // A_VEHICLE for one in vehicle.sightings}) == 1 for vehicle in vehicles)
    print(
        *parts,
        f"new={new}",
        f"pairs={len(made.pairs)}",
        f"vehicles={len(vehicles)}",
        f"pure={right}",
        f"mib={most:.0f}",
    )


def main() -> None:
    """All at once, then some more."""
    if sys.argv[1:2] == ["step"]:
        return step(Path(sys.argv[2]), *map(int, sys.argv[3:6]))
    defaults = {"sightings": 100_000, "more": 100, "cameras": 20, "dim": 512, "output": "benchmarks/results"}
    cfg = OmegaConf.merge({**defaults, "name": "link_cost"}, OmegaConf.from_cli())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for what, count in (("all", cfg.sightings), (f"{cfg.more:,} more", cfg.sightings + cfg.more)):
            command = [sys.executable, __file__, "step", folder, str(count), str(cfg.cameras), str(cfg.dim)]
            start = time.monotonic()
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = dict(pair.split("=") for pair in said.split())
            rows.append(
                {
                    "linked": f"{what} of {count:,}",
                    "compared": f"{int(found['new']):,}",
                    "CPU s: comparing": found["compared"],
                    "grouping": found["grouped"],
                    "writing": found["kept"],
                    "wall s in all": f"{time.monotonic() - start:.0f}",
                    "MiB": found["mib"],
                    "pairs kept": f"{int(found['pairs']):,}",
                    "vehicles": f"{int(found['vehicles']):,}",
                    "of which pure": f"{int(found['pure']):,}",
                }
            )
    note = (
        f"{cfg.cameras} cameras, {PICTURES} pictures of {cfg.dim} numbers a sighting, {A_VEHICLE} sightings a vehicle. "
        "Wall time includes drawing the vectors and the imports."
    )
    report(cfg.name, rows, Path(cfg.output), note=note)
    return None


if __name__ == "__main__":
    main()
