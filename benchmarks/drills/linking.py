"""Claim: linking and answering beside registering, renaming and deleting, all of them killed at any moment, loses no
answer, overrules none, and leaves links that are whole.

python benchmarks/drills/linking.py [seconds=180] [linkers=2] [writers=1] [pause=3] [seed=0] [output=benchmarks/results]
Two processes link the same gallery again and again, one asks what is worth asking and answers at random, others add,
rename, merge, delete and restore as in `many_writers.py`. One of them is killed with SIGKILL every `pause` seconds on
average, and replaced. Whoever reads meanwhile finds the links of before or after, never half of them.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf

from benchmarks.common import report
from benchmarks.drills.commands import IMPORTS
from benchmarks.drills.many_writers import DIM, embed, write
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.linking import links
from reid_lightning.search.linking.answers import FOLDER, SAYS, Answers, words_of
from reid_lightning.search.linking.linker import link, linked_before
from reid_lightning.search.linking.problem import LinkOptions
from reid_lightning.search.linking.review import questions

OPTIONS = LinkOptions(0.6)
_PATIENCE = 120.0
_USUAL = ("has a vector", "is linked yet", "gone or damaged", "There is no gallery")
"""What is said of a gallery that is still empty, or of one that nobody has linked."""


@dataclass(frozen=True)
class Outcome:
    """All but the first five should be 0: `lost` answers that somebody was told are kept, `overruled` words that the
    last links contradict, `missing` sightings that no vehicle of the last links has, `hung` processes."""

    seconds: float
    linked: int
    answers: int
    kills: int
    sightings: int
    lost: int
    overruled: int
    missing: int
    hung: int
    faults: tuple[str, ...]


def repeat(root: Path, seed: int, act: Callable[[Path, random.Random, Callable[..., None]], None]) -> None:
    """Do it until `stop` lies beside the gallery; what is done is noted beside it, too, and what should not be."""
    generator = random.Random(seed)
    notes = os.open(root.parent / f"notes_{seed}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(*words: object) -> None:
        os.write(notes, (" ".join(map(str, words)) + "\n").encode())

    while not root.with_name("stop").exists():
        try:
            act(root, generator, note)
        except ReIDError as error:
            if not any(word in str(error) for word in _USUAL):
                note("fault", json.dumps(str(error)))
            time.sleep(0.05)
        except Exception:
            note("fault", json.dumps(traceback.format_exc()))


def link_again(root: Path, generator: random.Random, note: Callable[..., None]) -> None:
    """As `reid link` does, now and then anew."""
    store = open_store(root / ".index", fingerprint="drill", dim=DIM)
    link(Gallery(root), store, LinkOptions(0.6, again=generator.random() < 0.1))
    store.close()
    links.read(root)
    note("linked")


def answer_some(root: Path, generator: random.Random, note: Callable[..., None]) -> None:
    """What is worth asking, answered at random; now and then an answer is taken back."""
    _, problem = linked_before(Gallery(root))
    for question in questions(problem, most=3):
        kept = Answers(root).add(
            [(question.one, question.other)], generator.choice(SAYS), by="drill", score=question.score
        )
        note("answer", kept.id)
        if generator.random() < 0.2:
            Answers(root).take_back(kept.id, by="drill")
    time.sleep(generator.uniform(0, 0.1))


def drill(
    folder: Path, *, seconds: float, linkers: int = 2, writers: int = 1, seed: int = 0, pause: float = 3.0
) -> Outcome:
    """Let them work in `folder`, which is new, for so long, one killed after `pause` seconds on average."""
    root = folder / "gallery"
    root.mkdir(parents=True)
    multiprocessing.set_forkserver_preload([*IMPORTS, "benchmarks.drills.linking"])
    context = multiprocessing.get_context("forkserver")
    roles = [(repeat, link_again)] * linkers + [(repeat, answer_some)] + [(write, None)] * writers
    generator, kills, started = random.Random(seed), 0, 0
    processes: dict[int, multiprocessing.process.BaseProcess] = {}
    began: float | None = None  # when all of them had begun
    while began is None or time.monotonic() - began < seconds:
        for place, (work, act) in enumerate(roles):
            if place not in processes:
                number = 1000 * seed + started
                given = (root, number, *(() if act is None else (act,)))
                processes[place] = context.Process(target=work, args=given, name=str(number))
                processes[place].start()
                started += 1
        time.sleep(generator.uniform(0.0, 2 * pause))
        at_work = [place for place, one in processes.items() if (folder / f"notes_{one.name}.txt").exists()]
        if began is None and len(at_work) == len(roles) and links_there(root):
            began = time.monotonic()
        if began is not None and at_work:
            doomed = processes.pop(generator.choice(at_work))
            kills += doomed.is_alive()
            doomed.kill()
            doomed.join()
    (folder / "stop").touch()
    hung = 0
    for process in processes.values():
        process.join(_PATIENCE)
        hung += process.is_alive()
        process.kill()
        process.join()
    return _judged(folder, seconds=time.monotonic() - began, kills=kills, hung=hung)


def links_there(root: Path) -> bool:
    """Whether anything was linked yet."""
    return (root / FOLDER / links.FILE).exists()


def _judged(folder: Path, *, seconds: float, kills: int, hung: int) -> Outcome:
    notes = [line.split(" ", 1) for path in folder.glob("notes_*") for line in path.read_text().splitlines()]
    gallery = Gallery(folder / "gallery")
    gallery.repair(older_than=-1.0)
    store = open_store(gallery.root / ".index", fingerprint="drill", dim=DIM)
    GalleryIndex(gallery, store, embed).sync()
    found = link(gallery, store, OPTIONS).links
    lines = Answers(gallery.root).path.read_text().splitlines()
    said = {json.loads(line)["id"] for line in lines if '"pairs"' in line}
    words = words_of(Answers(gallery.root).all())
    of = found.of_sighting
    together = [of[one] is of[other] for one, other in words.together if one in of and other in of]
    apart = [of[one] is not of[other] for one, other in words.apart if one in of and other in of]
    there = {one.id for one in gallery.sightings()}
    return Outcome(
        seconds=seconds,
        linked=sum(words == ["linked"] for words in notes),
        answers=len(said),
        kills=kills,
        sightings=len(there),
        lost=len({words[1] for words in notes if words[0] == "answer"} - said),
        overruled=together.count(False) + apart.count(False),
        missing=len(there ^ set(of)),
        hung=hung,
        faults=tuple(words[1] for words in notes if words[0] == "fault"),
    )


def main() -> None:
    """One run, and a table."""
    given = OmegaConf.from_cli()
    seconds, pause, seed = given.get("seconds", 180), given.get("pause", 3.0), given.get("seed", 0)
    counts = {"linkers": given.get("linkers", 2), "writers": given.get("writers", 1)}
    with tempfile.TemporaryDirectory() as folder:
        outcome = drill(Path(folder) / "drill", seconds=seconds, seed=seed, pause=pause, **counts)
    for fault in dict.fromkeys(outcome.faults):
        sys.stdout.write(fault.encode().decode("unicode_escape") + "\n")
    names = ("linked", "answers", "kills", "sightings", "lost", "overruled", "missing", "hung")
    row = {"seconds": f"{outcome.seconds:.0f}", **{name: f"{getattr(outcome, name):,}" for name in names}}
    note = (
        f"Seed {seed}; {counts['linkers']} processes link, one answers, {counts['writers']} change the gallery; one of "
        f"them is killed every {pause:g} s on average. Lost: answers that somebody was told are kept. Overruled: words "
        "that the last links contradict. Missing: sightings that no vehicle has, or the other way about."
    )
    report(
        "drill_linking",
        [{**row, "faults": str(len(outcome.faults))}],
        Path(given.get("output", "benchmarks/results")),
        note=note,
    )


if __name__ == "__main__":
    main()
