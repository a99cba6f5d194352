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
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.many_writers import embed
from benchmarks.drills.searcher_judge import Outcome, Work, judged
from benchmarks.drills.searcher_processes import (
    CROPS,
    LAST_QUERIES,
    SIGHTINGS,
    VEHICLES,
    opened,
    search,
    sighting,
    write,
)
from benchmarks.drills.servers import Server, store_place
from benchmarks.drills.timeline import Written
from reid_lightning.search.gallery import Gallery, GalleryIndex

_PATIENCE = 180.0  # seconds, until a process that was asked to end counts as hanging


def drill(folder: Path, store: str, *, seconds: float, kill: float = 0.0, searchers: int = 2, seed: int = 0) -> Outcome:
    """Let them work in `folder`, which is new, for so long; `kill`: seconds between two kills on average, 0: none."""
    root = folder / "gallery"
    root.mkdir(parents=True)
    multiprocessing.set_forkserver_preload(["benchmarks.drills.searcher_processes"])
    with store_place(store, root) as (uri, server):
        first = _filled(root, uri)
        at_work = _AtWork(root, uri, server, searchers, seed)
        at_work.work(seconds, kill)
        (root.parent / "stop").touch()
        hung = at_work.end_of(at_work.writer)
        (root.parent / "still").touch()
        hung += sum(at_work.end_of(process) for process in at_work.searchers)
        work = Work(at_work.seconds, searchers, at_work.down, at_work.kills, hung)
        return judged(folder, uri, first, work)


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
