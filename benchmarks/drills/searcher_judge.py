"""What is wrong with what the processes of `searchers` found, wrote and left, judged by what had been acknowledged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.drills.searcher_processes import CAMERAS, LAST_QUERIES, SIGHTINGS, lines_of, opened, vectors
from benchmarks.drills.timeline import Answer, Found, Timeline, Written
from reid_lightning.search.gallery import Gallery, records_of


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


@dataclass(frozen=True)
class Work:
    """How the processes fared: `down` is when there was no server, `kills` how often the writer and the server were
    killed, `hung` how many did not end."""

    seconds: float
    searchers: int
    down: Sequence[tuple[float, float]]
    kills: Mapping[str, int]
    hung: int


def judged(folder: Path, uri: str, first: Written, work: Work) -> Outcome:
    """The notes and the gallery of a drill in `folder`, which began with `first`."""
    writes, faults, refused = _writes(folder)
    writes = [first, *writes]
    cameras = [f"c{number % CAMERAS}" for number in range(SIGHTINGS)]
    timeline = Timeline(writes, vectors(), cameras, work.down)
    each = [_answers(folder / f"answers_{number}.jsonl") for number in range(work.searchers)]
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
        seconds=work.seconds,
        writes=sum(one.ended < math.inf for one in writes),
        answers=sum(one.error is None for answers, last in each for one in (*answers, *last)),
        hits=sum(len(one.hits) for answers, last in each for one in (*answers, *last)),
        writer_kills=work.kills["writer"],
        server_kills=work.kills["server"],
        refused=refused,
        wrong=tuple(wrong),
        lost=tuple(lost),
        off=len({*disk.items()} ^ {(one.id, one) for one in stored}),
        doubled=len(stored) - len({one.id for one in stored}) + len([*gallery.root.glob("*/*.json")]) - len(places),
        left=tuple(dict.fromkeys([*problems, *gallery.check()])),
        differing=sum(len(set(map(str, some))) > 1 for some in zip(*shown, strict=False)) if complete else LAST_QUERIES,
        hung=work.hung,
        faults=tuple(faults),
    )


def _writes(folder: Path) -> tuple[list[Written], list[str], int]:
    """Also faults, and how many changes a server refused."""
    writes: list[Written] = []
    faults, refused = list[str](), 0
    for path in sorted(folder.glob("writes_*.jsonl")):
        for line in lines_of(path):
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
    for line in lines_of(path):
        if "query" in line:
            is_last = line.pop("last", False)
            line |= {"query": tuple(line["query"]), "hits": tuple(Found(*hit) for hit in line["hits"])}
            found[is_last].append(Answer(**line))
    return found
