"""Claim: a gallery goes into a zip and out of one in memory that the zip's table of contents takes, a file a line.

python benchmarks/gallery_archive.py [sightings=[1000,10000,100000]] [folder=<where to draw>]
                                     [output=benchmarks/results]
Galleries as in gallery_lists.py; each export and import is a process of its own. `memory` is what it holds itself at
the most beyond what it holds before it begins.
"""

from __future__ import annotations

import multiprocessing
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from gallery_lists import draw
from omegaconf import OmegaConf
from processes import own_memory

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.archive import MAX_BYTES, export_gallery, import_gallery

EACH = 10  # sightings of a vehicle
_PAUSE = 0.02


def work(root: Path, file: Path, is_export: bool, pipe: Connection) -> None:
    """Once the other side has said so; then send the CPU seconds."""
    gallery = Gallery(root)
    pipe.send(None)
    pipe.recv()
    started = time.process_time()
    if is_export:
        problems = export_gallery(gallery, file).problems
    else:
        problems = import_gallery(gallery, file, max_bytes=16 * MAX_BYTES).problems
    pipe.send((time.process_time() - started, problems))


def measured(root: Path, file: Path, *, is_export: bool) -> tuple[float, float]:
    """CPU seconds and MiB. RuntimeError: something was left out."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(root, file, is_export, there))
    process.start()
    here.recv()
    before = most = own_memory(process.pid)
    here.send(None)
    while not here.poll(_PAUSE):
        most = max(most, own_memory(process.pid))
    seconds, problems = here.recv()
    process.join()
    if problems:
        raise RuntimeError(problems[0])
    return seconds, most - before


def main() -> None:
    """Measure, and write a table."""
    defaults = {"sightings": [1000, 10_000, 100_000], "folder": None, "output": "benchmarks/results"}
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    where, rows = Path(tempfile.mkdtemp(dir=cfg.folder)), []
    for count in cfg.sightings:
        root, file, other = where / f"{count}", where / f"{count}.zip", where / f"{count}-other"
        draw(root, count, each=EACH)
        row = {"sightings": f"{count:,}"}
        for name, place in (("export", root), ("import", other)):
            seconds, memory = measured(place, file, is_export=name == "export")
            row |= {f"{name}, CPU ms each": f"{1000 * seconds / count:.2f}", f"{name}, MiB": f"{memory:.0f}"}
        row["files in the zip"] = f"{2 * count + 1:,}"
        rows.append(row)
    shutil.rmtree(where)
    note = f"{EACH} sightings a vehicle, a small picture each; of MiB what the process holds beyond its start."
    report("gallery_archive", rows, Path(cfg.output), note=note)


if __name__ == "__main__":
    main()
