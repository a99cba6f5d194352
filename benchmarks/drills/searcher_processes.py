"""The processes of `searchers`: one that writes, those that search, and the notes that each leaves of what it did."""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drills.many_writers import DIM, embed
from benchmarks.drills.many_writers import sighting as drawn
from benchmarks.drills.timeline import Answer, Place
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, VectorStore, open_store
from reid_lightning.search.gallery.vehicle_folder import encode_crop
from reid_lightning.search.records import Hit, Sighting
from reid_lightning.search.stores.base import StoreError

SIGHTINGS, VEHICLES, CAMERAS, CROPS = 400, 40, 4, 2
LAST_QUERIES = 200
_WRITER_PAUSE, _SEARCHER_PAUSE = 0.02, 0.01
_SHARES = {
    "add": 46,
    "remove": 16,
    "move": 10,
    "merge": 6,
    "delete": 4,
    "restore": 4,
    "sync": 2,
    "rebuild": 0.5,
    "optimize": 1,
}
Change = tuple[Mapping[int, Place], Callable[[], object]]


def sighting(number: int, vehicle: str) -> tuple[Sighting, list[np.ndarray]]:
    """The same pictures and camera for the same number, whatever it is called."""
    made, pictures = drawn(number, vehicle)
    return dataclasses.replace(made, camera=f"c{number % CAMERAS}"), pictures


def vectors() -> np.ndarray:
    """(SIGHTINGS, CROPS, DIM): of the crops as they lie on the disk."""
    rows = np.empty((SIGHTINGS, CROPS, DIM), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(SIGHTINGS):
            for crop, picture in enumerate(sighting(number, "V")[1]):
                path = Path(folder) / "crop.jpg"
                path.write_bytes(encode_crop(picture, "x"))
                with Image.open(path) as shown:
                    rows[number, crop] = embed([shown])[0]
    return rows


def opened(uri: str) -> VectorStore:
    """The drill's store."""
    return open_store(uri, fingerprint="drill", dim=DIM)


class _Notes:
    """A file to which one process writes, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def note(self, **values: object) -> None:
        self._file.write(json.dumps(values) + "\n")


def lines_of(path: Path) -> list[dict]:
    """What a process has noted; its last line is left out where it was killed while it wrote that."""
    found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in found if line.endswith("}")]


def write(root: Path, uri: str, seed: int) -> None:
    """Change the gallery until `stop` lies beside it, and note when each change began and ended."""
    notes, generator = _Notes(root.with_name(f"writes_{seed:04d}.jsonl")), random.Random(seed)
    stop, writer = root.with_name("stop"), None
    while not stop.exists():
        try:
            if writer is None:
                writer = _Writer(root, uri, generator)
                began = time.monotonic()
                writer.look()
                state = {number: writer.state.get(number) for number in range(SIGHTINGS)}
                notes.note(began=began, ended=time.monotonic(), state=state, looked=True)
            for state, change in writer.changes():
                notes.note(began=time.monotonic(), state=state)
                change()
                notes.note(ended=time.monotonic())
                writer.state |= state
            time.sleep(_WRITER_PAUSE)
        except StoreError as error:  # the server was killed: what it was doing may be done or not
            notes.note(refused=str(error))
            writer = None
            time.sleep(0.2)
        except Exception:
            notes.note(fault=traceback.format_exc())
            writer = None


class _Writer:
    """What one process knows of the gallery that it alone changes; `state`: where each sighting is."""

    def __init__(self, root: Path, uri: str, generator: random.Random) -> None:
        self.index = GalleryIndex(Gallery(root), opened(uri), embed)
        self.state: dict[int, Place] = {}
        self._generator = generator

    def look(self) -> None:
        """At the disk, after the store was made to agree with it."""
        self.index.gallery.repair(older_than=-1.0)
        self.index.sync()
        self.state = {int(one.id, 16): one.vehicle for one in self.index.gallery.sightings()}

    def changes(self) -> Iterator[Change]:
        """One thing to do, in one or two steps: what it makes of which sightings, and how."""
        action = self._generator.choices(list(_SHARES), list(_SHARES.values()))[0]
        index, number = self.index, self._generator.randrange(SIGHTINGS)
        name, place = f"V{self._generator.randrange(VEHICLES)}", self.state.get(number)
        there = {one for one in self.state.values() if one is not None}
        if action in ("sync", "rebuild"):
            yield {}, getattr(index, action)
        elif action == "optimize":
            yield {}, index.tidy
        elif action == "add" and place is None:
            yield {number: name}, lambda: self._add(number, name)
        elif place is None:
            return
        elif action == "remove":
            yield {number: None}, lambda: self._remove(number)
        elif action == "move" and name not in there:
            yield self._all_of(place, name), lambda: index.rename(place, name)
        elif action == "merge" and name in there and name != place:
            yield self._all_of(place, name), lambda: index.merge(place, name)
        elif action == "delete":
            yield self._all_of(place, None), lambda: index.delete(place)
        elif action == "restore":
            back = self._all_of(place, place)
            yield self._all_of(place, None), lambda: index.delete(place, undoable=True)
            yield back, lambda: index.restore(place)

    def _all_of(self, vehicle: str, new: Place) -> dict[int, Place]:
        return {number: new for number, place in self.state.items() if place == vehicle}

    def _add(self, number: int, vehicle: str) -> None:
        made, pictures = sighting(number, vehicle)
        if not self.index.gallery.add(made, pictures) or not self.index.add(made):
            raise RuntimeError(f"sighting {number} was there already")

    def _remove(self, number: int) -> None:
        found = self.index.gallery.find(f"{number:016x}")
        if found is None:
            raise RuntimeError(f"sighting {number} is not there")
        self.index.delete_sighting(found)


def search(root: Path, uri: str, number: int) -> None:
    """Ask until `stop` lies beside the gallery, and once the writer has ended, beside which `still` lies then, the same
    as all searchers do; note each answer."""
    notes, generator = _Notes(root.with_name(f"answers_{number}.jsonl")), random.Random(f"searcher {number}")
    searcher = _Searcher(root, uri)
    notes.note(ready=time.monotonic())
    while not root.with_name("stop").exists():
        notes.note(**searcher.answer(generator))
        time.sleep(_SEARCHER_PAUSE)
    while not root.with_name("still").exists():
        time.sleep(0.1)
    generator = random.Random("last")
    for _ in range(LAST_QUERIES):
        notes.note(**searcher.answer(generator), last=True)


class _Searcher:
    """A process that opens gallery and store once, and only reads."""

    def __init__(self, root: Path, uri: str) -> None:
        self._gallery, self._store, self._vectors = Gallery(root), opened(uri), vectors()

    def answer(self, generator: random.Random) -> dict[str, object]:
        query, kind = (generator.randrange(SIGHTINGS), generator.randrange(CROPS)), generator.random()
        asked = {"query": query, "top_k": generator.choice((1, 10, 50)), "vehicle": None, "camera": None}
        if kind < 0.2:
            asked["vehicle"] = f"V{generator.randrange(VEHICLES)}"
        elif kind < 0.4:
            asked["camera"] = f"c{generator.randrange(CAMERAS)}"
        began, found, sightings, error = time.monotonic(), [], None, None
        try:
            where = Answer(0.0, 0.0, **asked).where
            [hits] = self._store.search(self._vectors[query][None], top_k=asked["top_k"], where=where)
            found = [self._found(hit) for hit in hits]
            if kind > 0.95:
                sightings = self._gallery.statistics().sightings
        except ReIDError as one:
            error = str(one)
        except Exception:
            error = traceback.format_exc()
        return {
            **asked,
            "began": began,
            "ended": time.monotonic(),
            "hits": found,
            "sightings": sightings,
            "error": error,
        }

    def _found(self, hit: Hit) -> tuple[int, int, str, float, bool]:
        number, crop = hit.record.id.split("-")
        picture = self._gallery.picture_path(hit.record.id, vehicle=hit.record.vehicle)
        return int(number, 16), int(crop), hit.record.vehicle, hit.score, picture is not None and picture.is_file()
