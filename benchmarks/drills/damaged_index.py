"""Claim: whatever happens to a gallery's index, answers are right or one message says what to do, and a rebuild brings
everything back.

python benchmarks/drills/damaged_index.py [count=60] [seed=0] [output=benchmarks/results] [name=drill_damaged_index]
A small gallery with its real LanceDB index, once as small ones are searched and once with an approximate index, is
damaged as (seed, number) say; which of several files of a kind is hit depends on their names as well, which the engine
draws. Then come `check`, a search, a registration, `sync`, `delete`, `rebuild` and a search again, in a process whose
standard error is read: a panic of the engine that reaches the terminal is a fault as well.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import report
from benchmarks.drills.index_damages import WHOLE, damage
from benchmarks.drills.index_judge import Fault, check_after, nothing_shown, one_line, run, searched
from benchmarks.drills.jobs import digests
from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.bundle.embedder import Embedder
from reid_lightning.bundle.loading import load_reid_model
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.records import Crop, Sighting

SECONDS = 120.0
VEHICLES = 10
OUTCOMES = ("right", "reported", "named by check only", "fault")


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged index: what its search did, or the fault."""

    damage: str
    kind: str
    what: str = ""


class WholeGallery:
    """A bundle, and galleries below `folder` with an index of several writes and a deletion; beside each an older copy
    of its index."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        self.galleries = {False: folder / "small", True: folder / "indexed"}
        if self.bundle.exists():
            return
        torch.manual_seed(0)
        model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
        save_bundle(self.bundle, model, Preprocessing(32, 32), metrics={}, data={})
        for indexed, root in self.galleries.items():
            index = opened(root, self.bundle, indexed=indexed)
            for number in range(VEHICLES):
                add(index.gallery, number, index)
                if number == VEHICLES // 2:
                    index.delete_sighting(index.gallery.sightings_of("V0", on_problem=print)[0])
                    index.store.optimize()
                    shutil.copytree(root / ".index", root.with_name(f"{root.name}.older"))
            index.delete_sighting(index.gallery.sightings_of("V1", on_problem=print)[0])


def opened(root: Path, bundle: Path, *, indexed: bool) -> GalleryIndex:
    """The gallery with its index; `indexed`: which is not compared in whole."""
    embedder = _embedder(bundle)
    model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
    store = open_store(root / ".index", **model, **({"exact_up_to": 0} if indexed else {}))
    return GalleryIndex(Gallery(root), store, lambda pictures: embedder.embed(pictures).numpy())


@functools.cache
def _embedder(bundle: Path) -> Embedder:
    return load_reid_model(bundle, device="cpu")


def add(gallery: Gallery, number: int, index: GalleryIndex | None) -> None:
    """Register vehicle `number`, in the index where there is one: two sightings of two crops each."""
    chance = np.random.default_rng(number)
    for name in "ab":
        crops = tuple(Crop("", k, 0.0, (0.0, 0.0, 32.0, 32.0), 1.0, 1.0) for k in range(2))
        values = {"camera": "north", "source": "f0", "source_name": "x", "track": number, "detector": "d"}
        one = Sighting(f"{name}{number:015d}", f"V{number}", type="car", start=1e9, crops=crops, **values)
        gallery.add(one, [chance.integers(0, 256, (32, 32, 3), np.uint8) for _ in crops])
        if index is not None:
            index.add(one)


def outcome_of(whole: WholeGallery, number: int, scratch: Path, *, seed: int) -> Outcome:
    """Damage and use index `number` in this process."""
    chance, indexed = random.Random(f"{seed} {number}"), number % 2 == 1
    root = scratch / whole.galleries[indexed].name
    for folder in (whole.galleries[indexed], whole.galleries[indexed].with_name(f"{root.name}.older")):
        shutil.copytree(folder, scratch / folder.name)
    for note in whole.galleries[indexed].parent.glob(".index*"):
        shutil.copy2(note, scratch / note.name)
    done = damage(root, chance)
    name = f"{'indexed' if indexed else 'small'}, {done}"
    try:
        with nothing_shown():
            kind, said = _use(root, whole.bundle, indexed=indexed)
    except Fault as fault:
        return Outcome(name, "fault", str(fault))
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Outcome(name, "fault", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}: {error}")
    return Outcome(name, kind, said)


def _use(root: Path, bundle: Path, *, indexed: bool) -> tuple[str, str]:
    """All that a user may do; how the first search ended, and what it said."""
    at, model = f"gallery={root}", f"bundle={bundle}"
    files = _visible(root)
    traces = _vectors(root, bundle, vehicle="V3")
    status, said = run("check", at, model)
    found = searched(root, _embedder(bundle), indexed=indexed)
    kind = "reported" if isinstance(found, str) else "right" if found else "named by check only"
    if kind == "named by check only" and (status == 0 or not indexed):
        raise Fault(f"a wrong answer; check said {said!r}")
    if kind == "reported" and status == 0:
        raise Fault(f"check finds nothing, the search says {found!r}")
    words = found if isinstance(found, str) else ""
    try:
        add(Gallery(root), VEHICLES, opened(root, bundle, indexed=indexed))
    except ReIDError as error:
        one_line(str(error))
        add(Gallery(root), VEHICLES, None)
    if run("sync", at, model)[0] == 0:
        check_after(root, _embedder(bundle), indexed=indexed, what="sync", named=kind == "named by check only")
    status, said = run("delete", "vehicle=V3", at)
    if (root / "V3").exists() or (status and "files are changed as asked" not in said):
        raise Fault(f"delete ended with {status}: {said!r}")
    status, said = run("rebuild", at, model)
    if status != 0:
        raise Fault(f"rebuild ended with {status}: {said!r}")
    check_after(root, _embedder(bundle), indexed=indexed, what="rebuild")
    status, said = run("check", at, model)
    if status != 0:
        raise Fault(f"check after rebuild: {said!r}")
    lost = {name for name in files if not name.startswith("V3")} - _visible(root).keys()
    if lost:
        raise Fault(f"files of the gallery are gone: {sorted(lost)}")
    contents = [path.read_bytes() for path in (root / ".index").rglob("*") if path.is_file()]
    if any(trace in content for content in contents for trace in traces):
        raise Fault("vectors of the deleted vehicle are still on the disk")
    return kind, words


def _visible(root: Path) -> dict[str, str]:
    return {name: content for name, content in digests(root).items() if not name.startswith(".")}


def _vectors(root: Path, bundle: Path, *, vehicle: str) -> list[bytes]:
    embedder, gallery = _embedder(bundle), Gallery(root)
    paths = [path for one in gallery.sightings_of(vehicle, on_problem=print) for path in gallery.crop_paths(one)]
    vectors = embedder.embed([Image.open(path) for path in paths]).numpy()
    return [row.astype(np.float16).tobytes() for row in vectors]


def _work(folder: Path, seed: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    os.environ["COLUMNS"] = "200"
    whole = WholeGallery(folder)
    while (number := pipe.recv()) is not None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            pipe.send(outcome_of(whole, number, Path(scratch), seed=seed))


def drill(count: int, folder: Path, *, seed: int) -> list[Outcome]:
    """Outcomes of so many damaged indexes, each worked on in a process that is replaced if it does not come back."""
    context, outcomes = multiprocessing.get_context("spawn"), list[Outcome]()  # the engine's threads are not forked
    while len(outcomes) < count:
        pipe, theirs = context.Pipe()
        process = context.Process(target=_work, args=(folder, seed, theirs), daemon=True)
        process.start()
        theirs.close()
        while len(outcomes) < count:
            pipe.send(len(outcomes))
            try:
                if pipe.poll(SECONDS):
                    outcomes.append(pipe.recv())
                    continue
                what = f"no answer in {SECONDS:.0f} s"
            except (EOFError, ConnectionError):
                what = "the process ended"
            outcomes.append(Outcome("unknown", "fault", what))
            break
        else:
            pipe.send(None)
            process.join(SECONDS)
        process.kill()
        process.join()
    return outcomes


def main() -> None:
    """Damage `count` indexes and write the table; status 1 where there is a fault."""
    arguments = OmegaConf.from_cli(sys.argv[1:])
    count, seed = int(arguments.get("count", 60)), int(arguments.get("seed", 0))
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = drill(count, Path(scratch) / "whole", seed=seed)
    for number, outcome in enumerate(outcomes):
        if outcome.kind == "fault":
            sys.stderr.write(f"index {number} ({outcome.damage}): {outcome.what}\n")
    groups: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        store, _, done = outcome.damage.partition(", ")
        part = done.partition(":")[0]
        group = groups.setdefault(f"{store}, {'whole table or folder' if part in WHOLE else part}", Counter())
        group[outcome.kind] += 1
    groups["all"] = sum(groups.values(), Counter())
    rows = [
        {"damaged": name, "inputs": str(found.total()), **{kind: str(found[kind]) for kind in OUTCOMES}}
        for name, found in sorted(groups.items(), key=lambda pair: (pair[0] == "all", pair[0]))
    ]
    note = (
        f"seed {seed}. How a search ended: right; reported in one line what to do; named by check only, for a search "
        "does not read all of a large index. In all of them check, delete, register, sync and rebuild did what they "
        "say, rebuild brought everything back, no file of the gallery was lost, and the deleted vehicle's vectors went."
    )
    report(
        arguments.get("name", "drill_damaged_index"),
        rows,
        Path(arguments.get("output", "benchmarks/results")),
        note=note,
    )
    sys.exit(any(outcome.kind == "fault" for outcome in outcomes))


if __name__ == "__main__":
    main()
