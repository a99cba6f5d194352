"""Claim: an index that is older than the disk, of vectors or of sidecars, gives right answers or one line with the fix;
`check` names what differs, and `sync` makes all of it right.

python benchmarks/drills/older_index.py [cases=28] [seed=0] [postgres=true] [output=benchmarks/results]
A small gallery is changed by the program; then an older copy of its index, or of a part of it, is put back, as a
restored backup does, and two things in its folders are changed by hand. In every other case the gallery counts as one
of very many vehicles, whose folders a list does not compare with the disk. Then come `list`, `check`, a search, `sync`
and all of them again. With PostgreSQL an older copy of the whole database is put back.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import report
from benchmarks.drills.damaged_index import VEHICLES, add
from benchmarks.drills.index_judge import Fault, one_line, run, searched
from benchmarks.postgres_server import PostgresServer, postgres_programs
from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.bundle.embedder import Embedder
from reid_lightning.bundle.loading import load_reid_model
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store, sighting_index
from reid_lightning.search.gallery.index_file import PREFIX
from reid_lightning.search.stores.lance_state import note_of

OLD = 1e9  # a time of change that can be relied on
_NAMED = ("sync", "Restore it, or delete both", "delete one of the two")
OUTCOMES = ("right", "reported", "named by check", "fault")


@dataclass
class Place:
    """A gallery and where its vectors are."""

    root: Path
    uri: str
    server: PostgresServer | None = None
    words: list[str] = field(default_factory=list)

    def keep(self, folder: Path) -> None:
        """A copy of the index as it is now, as a backup has it."""
        shutil.copytree(self.root / ".index", folder / "index")
        note = note_of(str(self.root / ".index"), "vehicles")
        if note.exists():
            shutil.copy2(note, folder / "note")
        self._swap(lambda server: _copy(server.data, folder / "data"))

    def put_back(self, folder: Path, part: str) -> None:
        """Part of what was kept, or all of it."""
        index = self.root / ".index"
        if part == "sidecars":
            for path in index.glob(f"{PREFIX}*"):
                path.unlink()
            for path in (folder / "index").glob(f"{PREFIX}*"):
                shutil.copy2(path, index / path.name)
        elif part == "vectors" and self.server is None:
            shutil.rmtree(index / "vehicles.lance")
            shutil.copytree(folder / "index/vehicles.lance", index / "vehicles.lance")
        elif part != "nothing":
            shutil.rmtree(index)
            shutil.copytree(folder / "index", index)
            if part == "all with its note" and (folder / "note").exists():
                shutil.copy2(folder / "note", note_of(str(index), "vehicles"))
        if part not in ("nothing", "sidecars"):
            self._swap(lambda server: (shutil.rmtree(server.data), _copy(folder / "data", server.data)))

    def _swap(self, work: Callable[[PostgresServer], object]) -> None:
        if self.server is not None:
            self.server.stop()
            work(self.server)
            self.server.start()


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


PARTS = ("nothing", "all", "all with its note", "vectors", "sidecars")
"""What is put back."""


def _change_sidecar(root: Path) -> None:
    path = next((root / "V0").glob("*.json"))
    path.write_text(path.read_text().replace("north", "south"))


def _copied_in(root: Path) -> None:
    other = Gallery(root.with_name("elsewhere"))
    add(other, 20, None)
    for path in sorted((other.root / "V20").iterdir()):
        shutil.copy2(path, root / "V1")


BY_HAND: dict[str, Callable[[Path], object]] = {
    "a picture is added": lambda root: Image.effect_noise((32, 32), 80).convert("RGB").save(root / "V2/mine.png"),
    "a picture is removed": lambda root: (root / "V4/own.png").unlink(),
    "a picture is changed": lambda root: Image.new("RGB", (32, 32), (9, 200, 9)).save(root / "V4/own.png"),
    "a sidecar is removed": lambda root: next((root / "V5").glob("*.json")).unlink(),
    "a sidecar is changed": _change_sidecar,
    "sightings are copied in": _copied_in,
    "a folder is renamed": lambda root: (root / "V3").rename(root / "W3"),
    "a folder is removed": lambda root: shutil.rmtree(root / "V6"),
    "a crop is removed": lambda root: next((root / "V0").glob("*.jpg")).unlink(),
    "a folder is copied": lambda root: shutil.copytree(root / "V2", root / "X2"),
}


def _without_half_sightings(root: Path) -> None:
    """What `check` asks for: "Restore it, or delete both"."""
    for path in root.glob("*/*.json"):
        crops = [path.with_name(f"{path.stem}-{number}.jpg") for number in range(2)]
        if not all(crop.exists() for crop in crops):
            for file in (path, *crops):
                file.unlink(missing_ok=True)


FIXES: dict[str, Callable[[Path], object]] = {
    "a crop is removed": _without_half_sightings,
    "a folder is copied": lambda root: shutil.rmtree(root / "X2"),
}
"""What only its owner can decide, as `check` says."""


class Drill:
    """A bundle, and a gallery with an index, which each case gets a copy of."""

    def __init__(self, folder: Path) -> None:
        self.bundle = folder / "bundle"
        torch.manual_seed(0)
        model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
        save_bundle(self.bundle, model, Preprocessing(32, 32), metrics={}, data={})
        self.embedder: Embedder = load_reid_model(self.bundle, device="cpu")
        self._whole = folder / "whole"
        for number in range(VEHICLES):
            add(Gallery(self._whole), number, None)
        Image.new("RGB", (32, 32), (200, 30, 90)).save(self._whole / "V4/own.png")

    def case(self, folder: Path, *, part: str, by_hand: tuple[str, ...], is_large: bool, on_server: bool) -> str:
        """How its first search ended. Fault: what should not be."""
        root = Path(shutil.copytree(self._whole, folder / "gallery"))
        with ExitStack() as stack:
            place = Place(root, str(root / ".index"))
            if on_server:
                server = PostgresServer()
                stack.callback(server.remove)
                place = Place(root, server.uri, server, ["stores=postgres", f"stores.uri={server.uri}"])
            self._made_older(place, folder, part)
            for name in by_hand:
                BY_HAND[name](root)
            if is_large:
                stack.enter_context(as_in_a_large_gallery())
            return self._judged(place, by_hand)

    def _made_older(self, place: Place, folder: Path, part: str) -> None:
        _grow_old(place.root, OLD)
        index = self._index(place)
        index.sync()
        index.store.close()
        kept = folder / "kept"
        kept.mkdir()
        place.keep(kept)
        index = self._index(place)
        add(index.gallery, VEHICLES, index)
        index.delete_sighting(index.gallery.sightings_of("V2", on_problem=print)[0])
        index.rename("V7", "R7")
        index.merge("V8", "V9")
        index.gallery.vehicles()
        index.store.close()
        _grow_old(place.root, OLD + 1000)
        Gallery(place.root).vehicles()
        place.put_back(kept, part)

    def _index(self, place: Place) -> GalleryIndex:
        model = {"fingerprint": self.embedder.options.fingerprint, "dim": self.embedder.embedding_dim}
        store = open_store(place.uri, **model)
        return GalleryIndex(Gallery(place.root), store, lambda pictures: self.embedder.embed(pictures).numpy())

    def _judged(self, place: Place, by_hand: tuple[str, ...]) -> str:
        at = [f"gallery={place.root}", *place.words]
        if (listing := run("list", *at))[0] != 0:
            raise Fault(f"list: {listing[1]}")
        status, said = run("check", *at, f"bundle={self.bundle}")
        if not _is_listed(place.root) and "index of sidecars" not in said:
            raise Fault(f"a list is wrong, and check says {said}")
        found = searched(place.root, self.embedder, indexed=False, uri=place.uri)
        if isinstance(found, str) and "sync" not in one_line(found) and "rebuild" not in found:
            raise Fault(f"the search says {found}")
        if found is not True and (status == 0 or not any(words in said for words in _NAMED)):
            raise Fault(f"the search is {found}, and check says {said}")
        for name in by_hand:
            FIXES.get(name, bool)(place.root)
        status, said = run("sync", *at, f"bundle={self.bundle}")
        if status != 0 or not _is_listed(place.root):
            raise Fault(f"sync ended with {status}, the list is {_is_listed(place.root)}: {said}")
        if (after := searched(place.root, self.embedder, indexed=False, uri=place.uri)) is not True:
            raise Fault(f"after sync the search is {after}")
        status, said = run("check", *at, f"bundle={self.bundle}")
        if status != 0:
            raise Fault(f"after sync check says {said}")
        return "reported" if isinstance(found, str) else "right" if found else "named by check"


def _grow_old(root: Path, when: float) -> None:
    for path in [root, *root.rglob("[!.]*")]:
        if ".index" not in path.parts:
            os.utime(path, (when, when))


def _is_listed(root: Path) -> bool:
    """Whether a process that comes new lists what lies on the disk."""
    gallery = Gallery(root)
    shown = {one.id: (one.sightings, one.crops, one.cameras) for one in gallery.vehicles(on_problem=lambda _: None)}
    there = {}
    for name in gallery.vehicle_names():
        found = gallery.sightings_of(name, on_problem=lambda _: None)
        cameras = tuple(dict.fromkeys(sorted(one.camera for one in found if one.camera)))
        if found:
            there[name] = (len(found), sum(len(one.crops) for one in found), cameras)
    return shown == there


@contextmanager
def as_in_a_large_gallery() -> Iterator[None]:
    """No folder is compared with the disk unasked."""
    look = sighting_index.SightingIndex.look

    def less(self, folders: int = 0, **named: object) -> None:
        look(self, 0, **named)

    with patch.object(sighting_index.SightingIndex, "look", less):
        yield


def drill(folder: Path, cases: int, *, seed: int = 0, postgres: bool = False) -> list[tuple[str, str, str]]:
    """For each case what was put back, how it ended, and the fault."""
    folder.mkdir(parents=True, exist_ok=True)
    made, found = Drill(folder), list[tuple[str, str, str]]()
    kinds = [(part, False) for part in PARTS] + ([("nothing", True), ("all", True)] if postgres else [])
    for number in range(cases):
        chance = random.Random(f"{seed} {number}")
        part, on_server = kinds[number % len(kinds)]
        by_hand = tuple(chance.sample(list(BY_HAND), 2))
        is_large = number // len(kinds) % 2 == 1
        name = f"{'postgres' if on_server else 'lance'}, {part}{', many vehicles' if is_large else ''}"
        work = folder / f"case_{number}"
        work.mkdir()
        try:
            kind, what = made.case(work, part=part, by_hand=by_hand, is_large=is_large, on_server=on_server), ""
        except Fault as fault:
            kind, what = "fault", f"{'; '.join(by_hand)}: {fault}"
        except Exception:
            kind, what = "fault", f"{'; '.join(by_hand)}: {traceback.format_exc()}"
        found.append((name, kind, what))
        shutil.rmtree(work, ignore_errors=True)
    return found


def main() -> None:
    """All cases and one table; status 1 where there is a fault."""
    arguments = OmegaConf.from_cli()
    os.environ["COLUMNS"] = "200"
    torch.set_num_threads(1)
    postgres = arguments.get("postgres", True) and postgres_programs() is not None
    cases, seed = arguments.get("cases", 28), arguments.get("seed", 0)
    with tempfile.TemporaryDirectory() as scratch:
        found = drill(Path(scratch) / "older", cases, seed=seed, postgres=postgres)
    for number, (name, kind, what) in enumerate(found):
        if kind == "fault":
            sys.stderr.write(f"case {number} ({name}): {what}\n")
    groups: dict[str, Counter[str]] = {}
    for name, kind, _ in found:
        groups.setdefault(name, Counter())[kind] += 1
    groups["all"] = sum(groups.values(), Counter())
    rows = [
        {"put back": name, "cases": str(counts.total()), **{kind: str(counts[kind]) for kind in OUTCOMES}}
        for name, counts in groups.items()
    ]
    note = (
        f"Seed {seed}. After changes by the program (a registration, a deletion, a new name, a merge) what is named "
        "was put back from an older copy, and two things were changed by hand. How a search ended before `sync`: "
        "right; reported in one line with the fix; named by check: it knew nothing yet of what was changed by hand, or "
        "of an older database, and `check` says so. After `sync` list, search and check were right in all of them."
    )
    report("drill_older_index", rows, Path(arguments.get("output", "benchmarks/results")), note=note)
    sys.exit(any(kind == "fault" for _, kind, _ in found))


if __name__ == "__main__":
    main()
