"""Claim: processes that search share nothing but the gallery and its store: two of them and a writer lose and double
nothing, and what has been acknowledged is found at once; nor is it lost when the writer or the server is killed.

python benchmarks/drills/searchers.py [seconds=600] [stores=[lance,postgres]] [kill=0] [searchers=2] [seed=0]
                                      [output=benchmarks/results] [name=drill_searchers]
The writer registers, removes, moves, merges, deletes and restores sightings as it draws, at times with a `sync` or
`rebuild`. Each answer, with the pictures it names, is compared with what had been acknowledged before its search began
and what had not been begun when it ended. `kill=5`: every five seconds on average the writer, or the server where there
is one, gets SIGKILL in the middle of its work. `stores=[milvus]` needs the PyPI package milvus.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import multiprocessing
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from benchmarks.common import report
from benchmarks.drills.many_writers import DIM, embed
from benchmarks.drills.many_writers import sighting as drawn
from benchmarks.drills.servers import Server, store_place
from benchmarks.drills.timeline import Answer, Found, Place, Timeline, Written
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, VectorStore, open_store, records_of
from reid_lightning.search.gallery.vehicle_folder import encode_crop
from reid_lightning.search.records import Hit, Sighting
from reid_lightning.search.stores.base import StoreError

SIGHTINGS, VEHICLES, CAMERAS, CROPS = 400, 40, 4, 2
LAST_QUERIES = 200
_PATIENCE = 180.0  # seconds, until a process that was asked to end counts as hanging
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


@dataclass(frozen=True)
class Outcome:
    """What became of it. Only counts should not be 0: `wrong` are answers' faults by kind, `lost` sightings that were
    not where they could be after a kill or at the end, `off` records that differ from the disk at the end, `left` what
    `check` names, `differing` last answers in which the searchers do not agree, `faults` what no writer expects."""

    seconds: float
    writes: int
    answers: int
    hits: int
    writer_kills: int
    server_kills: int
    refused: int
    wrong: tuple[str, ...]
    lost: tuple[str, ...]
    off: int
    doubled: int
    left: tuple[str, ...]
    differing: int
    hung: int
    faults: tuple[str, ...]


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


def _lines(path: Path) -> list[dict]:
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


def drill(folder: Path, store: str, *, seconds: float, kill: float = 0.0, searchers: int = 2, seed: int = 0) -> Outcome:
    """Let them work in `folder`, which is new, for so long; `kill`: seconds between two kills on average, 0: none."""
    root = folder / "gallery"
    root.mkdir(parents=True)
    multiprocessing.set_forkserver_preload(["benchmarks.drills.searchers"])
    with store_place(store, root) as (uri, server):
        first = _filled(root, uri)
        at_work = _AtWork(root, uri, server, searchers, seed)
        at_work.work(seconds, kill)
        (root.parent / "stop").touch()
        hung = at_work.end_of(at_work.writer)
        (root.parent / "still").touch()
        hung += sum(at_work.end_of(process) for process in at_work.searchers)
        return _judged(folder, uri, first, at_work, hung)


def _filled(root: Path, uri: str) -> Written:
    """Register every other sighting before anybody begins."""
    index = GalleryIndex(Gallery(root), opened(uri), embed)
    state = {number: f"V{number % VEHICLES}" for number in range(0, SIGHTINGS, 2)}
    for number, vehicle in state.items():
        index.gallery.add(*sighting(number, vehicle))
    index.sync()
    index.store.close()
    return Written(0.0, 0.0, state)


class _AtWork:
    """The processes, which are killed and replaced."""

    def __init__(self, root: Path, uri: str, server: Server | None, searchers: int, seed: int) -> None:
        self._root, self._uri, self._server = root, uri, server
        self._context, self._number, self._generator = multiprocessing.get_context("forkserver"), 0, random.Random(seed)
        self._seed = 1000 * seed
        self.down: list[tuple[float, float]] = []
        self.kills, self.began, self.seconds = Counter[str](), 0.0, 0.0
        self.writer = self._written()
        self.searchers = [
            self._context.Process(target=search, args=(root, uri, number), daemon=True) for number in range(searchers)
        ]
        for process in self.searchers:
            process.start()

    def _written(self):
        number, self._number = self._seed + self._number, self._number + 1
        process = self._context.Process(target=write, args=(self._root, self._uri, number), daemon=True)
        process.start()
        return process

    def work(self, seconds: float, kill: float) -> None:
        """For so long from when all have begun."""
        answers = [self._root.with_name(f"answers_{number}.jsonl") for number in range(len(self.searchers))]
        while not all(path.exists() and path.stat().st_size for path in answers):
            time.sleep(0.05)
            if dead := [one for one in (self.writer, *self.searchers) if not one.is_alive()]:
                raise RuntimeError(f"{len(dead)} processes ended before they had begun")
        self.began = time.monotonic()
        while (left := self.began + seconds - time.monotonic()) > 0:
            time.sleep(min(left, self._generator.uniform(0.0, 2 * kill) if kill else left))
            if kill and left > kill:
                self._kill()
        self.seconds = time.monotonic() - self.began

    def _kill(self) -> None:
        if self._server is not None and self._generator.random() < 0.3:
            began = time.monotonic()
            self._server.kill()
            self._server.start()
            self.down.append((began, time.monotonic()))
            self.kills["server"] += 1
            return
        notes = self._root.with_name(f"writes_{self._seed + self._number - 1:04d}.jsonl")
        if notes.exists() and notes.stat().st_size:  # it is at work
            self.kills["writer"] += 1
            self.writer.kill()
            self.writer.join()
            self.writer = self._written()

    def end_of(self, process) -> int:
        """1: it hung, and is killed."""
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            return 1
        return 0


def _writes(folder: Path) -> tuple[list[Written], list[str], int]:
    """Also faults, and how many changes a server refused."""
    writes: list[Written] = []
    faults, refused = list[str](), 0
    for path in sorted(folder.glob("writes_*.jsonl")):
        for line in _lines(path):
            if "fault" in line:
                faults.append(line["fault"])
            elif "refused" in line:
                refused += 1
            elif "began" in line:
                state = {int(number): place for number, place in line["state"].items()}
                is_look = line.get("looked", False)
                writes.append(Written(line["began"], line.get("ended", math.inf), state, is_look))
            else:
                writes[-1] = dataclasses.replace(writes[-1], ended=line["ended"])
    return writes, faults, refused


def _answers(path: Path) -> tuple[list[Answer], list[Answer]]:
    """Those while the writer wrote, and the last ones."""
    found: tuple[list[Answer], list[Answer]] = ([], [])
    for line in _lines(path):
        if "query" in line:
            is_last = line.pop("last", False)
            line |= {"query": tuple(line["query"]), "hits": tuple(Found(*hit) for hit in line["hits"])}
            found[is_last].append(Answer(**line))
    return found


def _judged(folder: Path, uri: str, first: Written, at_work: _AtWork, hung: int) -> Outcome:
    writes, faults, refused = _writes(folder)
    writes = [first, *writes]
    cameras = [f"c{number % CAMERAS}" for number in range(SIGHTINGS)]
    timeline = Timeline(writes, vectors(), cameras, at_work.down)
    each = [_answers(folder / f"answers_{number}.jsonl") for number in range(len(at_work.searchers))]
    wrong = [fault for answers, last in each for fault in timeline.faults([*answers, *last])]
    shown = [[[(hit.number, hit.crop, round(hit.score, 5)) for hit in one.hits] for one in last] for _, last in each]
    complete = all(len(last) == LAST_QUERIES for _, last in each)
    gallery, problems = Gallery(folder / "gallery"), list[str]()
    store = opened(uri)
    lost = timeline.lost()
    places = {int(one.id, 16): one.vehicle for one in gallery.sightings(on_problem=problems.append)}
    lost += [
        f"at the end sighting {number} is in {places.get(number)}"
        for number, may in timeline.at_the_end().items()
        if places.get(number) not in may
    ]
    disk = {record.id: record for one in gallery.sightings(on_problem=problems.append) for record in records_of(one)}
    stored = [record for part in store.records() for record in part]
    return Outcome(
        seconds=at_work.seconds,
        writes=sum(one.ended < math.inf for one in writes),
        answers=sum(one.error is None for answers, last in each for one in (*answers, *last)),
        hits=sum(len(one.hits) for answers, last in each for one in (*answers, *last)),
        writer_kills=at_work.kills["writer"],
        server_kills=at_work.kills["server"],
        refused=refused,
        wrong=tuple(wrong),
        lost=tuple(lost),
        off=len({*disk.items()} ^ {(one.id, one) for one in stored}),
        doubled=len(stored) - len({one.id for one in stored}) + len([*gallery.root.glob("*/*.json")]) - len(places),
        left=tuple(dict.fromkeys([*problems, *gallery.check()])),
        differing=sum(len(set(map(str, some))) > 1 for some in zip(*shown, strict=False)) if complete else LAST_QUERIES,
        hung=hung,
        faults=tuple(faults),
    )


def row_of(store: str, outcome: Outcome) -> dict[str, str]:
    """A line of a table."""
    counts = {name: getattr(outcome, name) for name in ("writes", "answers", "hits", "writer_kills", "server_kills")}
    bad = {name: getattr(outcome, name) for name in ("wrong", "lost", "off", "doubled", "left", "differing", "hung")}
    return {
        "store": store,
        "seconds": f"{outcome.seconds:.0f}",
        **{name.replace("_", " "): f"{count:,}" for name, count in counts.items()},
        **{name: f"{len(value) if isinstance(value, tuple) else value:,}" for name, value in bad.items()},
        "faults": str(len(outcome.faults)),
    }


def main() -> None:
    """A run for each store, and a table."""
    arguments = OmegaConf.from_cli()
    seconds, kill, seed = (arguments.get(*pair) for pair in (("seconds", 600), ("kill", 0), ("seed", 0)))
    searchers, rows = arguments.get("searchers", 2), []
    for store in arguments.get("stores", ["lance", "postgres"]):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            work = Path(arguments.get("folder", folder)) / store
            outcome = drill(work, store, seconds=seconds, kill=kill, searchers=searchers, seed=seed)
        rows.append(row_of(store, outcome))
        for line in [*outcome.wrong[:20], *outcome.lost, *outcome.left, *dict.fromkeys(outcome.faults)]:
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.write(f"{store}: {line}\n")
        sys.stdout.write(f"{json.dumps(rows[-1])}\n")
        sys.stdout.flush()
    note = (
        f"Seed {seed}; {searchers} searchers and one writer over {SIGHTINGS} sightings of {CROPS} crops. Wrong: "
        "answers in which something acknowledged is missing, something removed is found, anything is doubled, under "
        "another name, with another score, without its picture, or an error. Lost: a sighting that is not "
        "where it was said to be. Off: records that differ from the disk at the end. Differing: of the last "
        f"{LAST_QUERIES} questions to all searchers those with different answers; each is compared exactly, too."
    )
    if kill:
        note += f" A writer or a server is killed every {kill:g} s on average; answers may fail while it is down."
    title = arguments.get("name", "drill_searchers_killed" if kill else "drill_searchers")
    report(title, rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
