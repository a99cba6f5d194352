"""Claim: many processes change one gallery at once, are killed at any moment, and lose, double and leave nothing.

python benchmarks/drills/many_writers.py [seconds=300] [writers=3] [pause=5] [seed=0] [output=benchmarks/results]
Each writer adds, renames, merges, deletes, restores, syncs, rebuilds and searches as it draws; the sightings that they
add are the same ones, under names of their own. One of them is killed with SIGKILL every `pause` seconds on average,
and replaced.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import report
from benchmarks.drills.commands import IMPORTS
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store, records_of, trash
from reid_lightning.search.gallery.index import NotInGalleryError
from reid_lightning.search.records import Crop, Sighting

DIM = 16
_SIGHTINGS, _VEHICLES = 300, 12
_PATIENCE = 120.0  # seconds, until a writer that was asked to end counts as hanging
_REFUSED = ("There is no vehicle", "cannot become", "same vehicle", "holds nothing", "exists again", "None of the")
_SHARES = {
    "add": 50,
    "rename": 8,
    "merge": 6,
    "delete": 6,
    "delete sighting": 4,
    "restore": 10,
    "sync": 5,
    "rebuild": 1,
    "search": 10,
}


@dataclass(frozen=True)
class Outcome:
    """What became of it. All but the first four should be 0: `lost` are sightings that a writer was told are kept and
    that nobody deleted for good, `off` records that differ from the disk after one `sync`, `faults` errors that no
    writer expects, `left` what `check` names after a `repair`."""

    seconds: float
    actions: int
    kills: int
    sightings: int
    lost: int
    doubled: int
    off: int
    left: int
    hung: int
    faults: tuple[str, ...]


def embed(pictures: Sequence[Image.Image]) -> np.ndarray:
    """The colours of a picture's corners and middle, of length 1."""
    small = [np.asarray(one.convert("RGB").resize((4, 4)), np.float32).reshape(-1)[:DIM] - 128 for one in pictures]
    rows = np.stack(small) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sighting(number: int, vehicle: str) -> tuple[Sighting, list[np.ndarray]]:
    """The same pictures for the same number, whatever it is called."""
    picture = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    crop = Crop("", 0, 0.0, (0.0, 0.0, 9.0, 9.0), 1.0, 1.0)
    times = {"start": 10.0 * number, "end": 10.0 * number + 1.0}
    made = Sighting(f"{number:016x}", vehicle, "n", "f" * 16, "x", number, "car", "d", (crop, crop), **times)
    return made, [picture, picture[::-1]]


def write(root: Path, seed: int) -> None:
    """Change the gallery until `stop` lies beside it; what is done is noted beside it, too, and what should not be."""
    generator = random.Random(seed)
    notes = os.open(_notes(root.parent, str(seed)), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    index = GalleryIndex(Gallery(root), open_store(root / ".index", fingerprint="drill", dim=DIM), embed)
    names, shares = list(_SHARES), list(_SHARES.values())
    while not root.with_name("stop").exists():
        action = generator.choices(names, shares)[0]
        number = generator.randrange(_SIGHTINGS)
        one, other = (f"V{generator.randrange(_VEHICLES)}" for _ in range(2))

        def note(*words: object) -> None:
            os.write(notes, (" ".join(map(str, words)) + "\n").encode())

        try:
            _act(index, action, number, one, other, note)
            note("done", action)
        except ReIDError as error:
            if isinstance(error, NotInGalleryError) or any(word in str(error) for word in _REFUSED):
                note("done", action)
            else:
                note("fault", action, json.dumps(str(error)))
        except Exception:
            note("fault", action, json.dumps(traceback.format_exc()))


def _act(index: GalleryIndex, action: str, number: int, one: str, other: str, note: Callable[..., None]) -> None:
    if action == "add":
        made, pictures = sighting(number, one)
        index.gallery.add(made, pictures)
        note("kept", made.id)
        index.add(made)
    elif action in ("rename", "merge"):
        getattr(index, action)(one, other, undoable=True)
    elif action == "delete":
        index.delete(one, undoable=True)
    elif action == "delete sighting":
        found = index.gallery.sightings_of(one, on_problem=lambda problem: None)
        if found:
            note("deletes", found[0].id)
            index.delete_sighting(found[0])
    elif action == "restore":
        entries = index.gallery.trash()
        if entries:
            index.restore(entries[number % len(entries)].id, into=one if number % 3 == 0 else None)
    elif action == "search":
        [hits] = index.store.search(embed([Image.fromarray(sighting(number, one)[1][0])]), top_k=5)
        for hit in hits:
            index.gallery.picture_path(hit.record.id, vehicle=hit.record.vehicle)
    else:
        getattr(index, action)()


def drill(folder: Path, *, seconds: float, writers: int, seed: int = 0, pause: float = 5.0) -> Outcome:
    """Let them write in `folder`, which is new, for so long, one killed after `pause` seconds on average."""
    root = folder / "gallery"
    root.mkdir(parents=True)
    multiprocessing.set_forkserver_preload([*IMPORTS, "benchmarks.drills.many_writers"])
    context = multiprocessing.get_context("forkserver")
    generator, kills, started = random.Random(seed), 0, 0
    processes: list = []
    began = None  # when all of them had begun
    while began is None or time.monotonic() - began < seconds:
        while len(processes) < writers:
            process = context.Process(target=write, args=(root, 1000 * seed + started), name=f"{1000 * seed + started}")
            process.start()
            processes.append(process)
            started += 1
        time.sleep(generator.uniform(0.0, 2 * pause))
        at_work = [process for process in processes if _notes(folder, process.name).exists()]
        if began is None and len(at_work) == writers:
            began = time.monotonic()
        if began is not None and at_work:
            doomed = generator.choice(at_work)
            processes.remove(doomed)
            kills += doomed.is_alive()
            doomed.kill()
            doomed.join()
    (folder / "stop").touch()
    hung = 0
    for process in processes:
        process.join(_PATIENCE)
        hung += process.is_alive()
        process.kill()
        process.join()
    return _judged(folder, seconds=time.monotonic() - began, kills=kills, hung=hung)


def _notes(folder: Path, writer: str) -> Path:
    return folder / f"notes_{writer}.txt"


def _judged(folder: Path, *, seconds: float, kills: int, hung: int) -> Outcome:
    notes = [line.split(" ", 2) for path in folder.glob("notes_*") for line in path.read_text().splitlines()]
    kept = {words[1] for words in notes if words[0] == "kept"} - {words[1] for words in notes if words[0] == "deletes"}
    gallery = Gallery(folder / "gallery")
    gallery.repair(older_than=-1.0)
    index = GalleryIndex(gallery, open_store(gallery.root / ".index", fingerprint="drill", dim=DIM), embed)
    problems = list(index.sync().problems)
    disk = {record.id: record for one in gallery.sightings(on_problem=problems.append) for record in records_of(one)}
    stored = {record.id: record for part in index.store.records() for record in part}
    places = [path.stem for path in gallery.root.glob("*/*.json")]
    deleted = [path.stem for path in (gallery.root / trash.FOLDER).glob("*/*/*.json")]
    return Outcome(
        seconds=seconds,
        actions=sum(words[0] == "done" for words in notes),
        kills=kills,
        sightings=len(places),
        lost=len(kept - set(places) - set(deleted)),
        doubled=len(places) - len(set(places)),
        off=len({*disk.items()} ^ {*stored.items()}),
        left=len(dict.fromkeys([*problems, *gallery.check()])),
        hung=hung,
        faults=tuple(" ".join(words) for words in notes if words[0] == "fault"),
    )


def row_of(outcome: Outcome, writers: int) -> dict[str, str]:
    """A line of a table."""
    names = ("actions", "kills", "sightings", "lost", "doubled", "off", "left", "hung")
    counts = {name: f"{getattr(outcome, name):,}" for name in names}
    reported = {"off": "vectors off", "left": "leftovers"}
    return {
        "writers": str(writers),
        "seconds": f"{outcome.seconds:.0f}",
        **{reported.get(name, name): count for name, count in counts.items()},
        "faults": str(len(outcome.faults)),
    }


def main() -> None:
    """One run, and a table."""
    arguments = OmegaConf.from_cli()
    seconds, writers, seed = (arguments.get(*pair) for pair in (("seconds", 300), ("writers", 3), ("seed", 0)))
    pause = arguments.get("pause", 5.0)
    with tempfile.TemporaryDirectory() as folder:
        outcome = drill(Path(folder) / "drill", seconds=seconds, writers=writers, seed=seed, pause=pause)
    for fault in dict.fromkeys(outcome.faults):
        sys.stdout.write(fault.encode().decode("unicode_escape") + "\n")
    note = (
        f"Seed {seed}; {_SIGHTINGS} sightings, which all writers add under {_VEHICLES} names; a writer is killed every "
        f"{pause:g} s on average. Lost: a sighting that a writer was told is kept, that nobody deleted for good, and "
        "that is neither in the gallery nor in its trash. Vectors off: records that differ from the disk "
        "after one sync."
    )
    report(
        "drill_many_writers", [row_of(outcome, writers)], Path(arguments.get("output", "benchmarks/results")), note=note
    )


if __name__ == "__main__":
    main()
