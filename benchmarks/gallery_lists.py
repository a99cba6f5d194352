"""What lists, pages, filters and finding a sighting cost in galleries of many sizes, with the index of sidecars.

python benchmarks/gallery_lists.py [sightings=[1000,10000,40000]] [vehicle=10] [turns=5] [folder=<where to draw>]
    [slow=true] [output=benchmarks/results] [name=gallery_lists]
Galleries are drawn with `vehicle` sightings a vehicle, each a sidecar and one picture, which is the same file under
many names. CPU time of this process: medians of `turns` calls, each by a `Gallery` that was just opened. `every
sidecar` is what lists did before there was an index. A gallery that lies in `folder` already is taken as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import report
from omegaconf import OmegaConf
from rich.progress import track

from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.listing import Choice
from reid_lightning.search.gallery.sighting_index import MANY
from reid_lightning.search.gallery.vehicle_folder import encode_crop
from reid_lightning.search.records import Crop, Sighting

BEGIN = 1_767_225_600.0  # 2026-01-01
CAMERAS, TYPES = 20, ("car", "bus", "truck")
LINKS = 30_000  # of one file
PAGE = 24
SLOW = 100_000  # sightings, whose sidecars are read one by one


def sighting(number: int, *, each: int) -> Sighting:
    """The drawn sighting of this number."""
    identifier = f"{number:016x}"
    crop = Crop(f"{identifier}-0.jpg", 1, 0.1, (1.0, 2.0, 30.0, 20.0), 0.9, 0.5)
    start = BEGIN + 31.0 * number % 31_536_000.0
    return Sighting(
        identifier,
        f"V{number // each:07d}",
        f"camera-{number * 7 % CAMERAS}",
        f"{number // 1000:016x}",
        "clip.mp4",
        number,
        TYPES[number * 5 % 3],
        "yolox",
        (crop,),
        start,
        start + 9.0,
        f"V{number // each:07d}",
        0.9,
    )


def draw(root: Path, count: int, *, each: int) -> None:
    """A gallery of so many sightings, written as fast as a disk takes it."""
    picture = encode_crop(np.full((20, 30, 3), 90, np.uint8), "drawn")
    shared = root / ".shared"
    shared.mkdir(parents=True)
    for number in track(range(count), description=f"drawing {count:,}"):
        one = sighting(number, each=each)
        folder = root / one.vehicle
        if number % each == 0:
            folder.mkdir()
        if number % LINKS == 0:
            source = shared / f"{number}.jpg"
            source.write_bytes(picture)
        os.link(source, folder / one.crops[0].file)
        (folder / f"{one.id}.json").write_text(json.dumps({"format": 1, **asdict(one)}))


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def measured(root: Path, count: int, *, each: int, turns: int) -> dict[str, float]:
    """CPU milliseconds of each kind of call."""
    found: dict[str, float] = {}
    if not (root / ".index").exists():
        time.sleep(4)  # until times of change are old enough to be relied on
        found["index made"] = cpu_ms(Gallery(root).locations.look)
    middle, last = count // each // 2, BEGIN + 86_400.0
    calls: dict[str, Callable[[Gallery], object]] = {
        "first page": lambda gallery: gallery.page(most=PAGE),
        "page in the middle, last seen": lambda gallery: gallery.page(
            Choice(order="last seen"), start=middle, most=PAGE
        ),
        "page of one camera": lambda gallery: gallery.page(Choice(cameras=("camera-3",)), most=PAGE),
        "page of a camera, a type, a day": lambda gallery: gallery.page(
            Choice(cameras=("camera-3",), types=("bus",), since=BEGIN, until=last), most=PAGE
        ),
        "page of a part of a plate": lambda gallery: gallery.page(Choice(text=f"{middle:05d}"), most=PAGE),
        "statistics": lambda gallery: gallery.statistics(),
        "find, known": lambda gallery: gallery.find(f"{count // 2:016x}"),
        "find, unknown": lambda gallery: gallery.find("nobody"),
        "one source": lambda gallery: gallery.sightings_of_source(f"{0:016x}", "camera-3"),
        "all vehicles": lambda gallery: gallery.vehicles(),
    }
    for name, call in calls.items():
        found[name] = statistics.median(cpu_ms(lambda call=call: call(Gallery(root))) for _ in range(turns))
    gallery, times = Gallery(root), []
    for number in range(turns):
        new = replace(sighting(0, each=each), id=f"new{number}", vehicle=f"NEW{number}")
        times.append(cpu_ms(lambda new=new: gallery.add(new, [np.zeros((9, 9, 3), np.uint8)])))
        gallery.delete(f"NEW{number}")
    found["add, a new vehicle"] = statistics.median(times)
    time.sleep(4)  # until times of change are old enough to be relied on
    Gallery(root).locations.index.look(MANY, everything=True)
    found["look at every file, nothing changed"] = cpu_ms(
        lambda: Gallery(root).locations.index.look(MANY, everything=True)
    )
    return found


def main() -> None:
    """Measure, and write a table."""
    defaults = {
        "sightings": [1000, 10_000, 40_000],
        "vehicle": 10,
        "turns": 5,
        "folder": None,
        "slow": True,
        "output": "benchmarks/results",
        "name": "gallery_lists",
    }
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    where = Path(cfg.folder or tempfile.mkdtemp())
    columns: dict[int, dict[str, float]] = {}
    for count in cfg.sightings:
        root = where / f"gallery-{count}"
        if not root.exists():
            draw(root, count, each=cfg.vehicle)
        columns[count] = measured(root, count, each=cfg.vehicle, turns=cfg.turns)
        if cfg.slow and count <= SLOW:
            columns[count]["every sidecar"] = cpu_ms(lambda root=root: list(Gallery(root).sightings()))
        columns[count]["index, MiB"] = (root / ".index/.sightings.sqlite").stat().st_size / 2**20
    if cfg.folder is None:
        shutil.rmtree(where)
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [
        {
            "CPU ms": name,
            **{f"{count:,}": f"{column.get(name, float('nan')):,.2f}" for count, column in columns.items()},
        }
        for name in names
    ]
    note = (
        f"{cfg.vehicle} sightings a vehicle, one picture each; CPU ms, medians of {cfg.turns} newly opened galleries."
    )
    report(cfg.name, rows, Path(cfg.output), note=note)


if __name__ == "__main__":
    main()
