"""Claim: a hundred answers to the questions of `reid review` bring more than a hundred to random pairs.

python benchmarks/review.py bundle=<folder> traffic=[<drawn folder>, ...] galleries=<folder> [answers=100] [round=10]
    [seeds=3] [times=false] [output=benchmarks/results] [name=review]
Galleries as in `linking.py`. Somebody who knows the truth answers in rounds, after each of which all is linked again
with the threshold that the answers make. Random pairs are drawn of all that were compared (the nearest neighbours of
each sighting), or, the stronger rival, of those within .05 of the threshold. No plate is looked at.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import report
from linking import Traffic, registered
from omegaconf import OmegaConf

from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import open_store
from reid_lightning.search.gallery.sighting_list import all_seen
from reid_lightning.search.linking import comparisons
from reid_lightning.search.linking.answers import Answers
from reid_lightning.search.linking.linker import link
from reid_lightning.search.linking.problem import LinkOptions, Problem, problem_of
from reid_lightning.search.linking.review import questions
from reid_lightning.search.linking.thresholds import threshold_for_links
from reid_lightning.search.matching.travel_times import TravelTimes

NEAR = 0.05

Pair = tuple[str, str]
Choose = Callable[[Problem, set[Pair], int], list[tuple[Pair, float]]]
"""Pairs to ask about, with what is known of them as a similarity."""


def useful(problem: Problem, known: set[Pair], most: int) -> list[tuple[Pair, float]]:
    """What `reid review` asks."""
    return [((one.one, one.other), one.score) for one in questions(problem, most=most)]


def drawn(random: np.random.Generator, *, near: bool) -> Choose:
    """Pairs at random."""

    def choose(problem: Problem, known: set[Pair], most: int) -> list[tuple[Pair, float]]:
        allowed = (
            np.abs(problem.scores - problem.rules.threshold) <= NEAR if near else np.ones(len(problem.pairs), bool)
        )
        rows = random.permutation(np.flatnonzero(allowed))
        pairs = [(problem.seen[one].id, problem.seen[other].id) for one, other in problem.pairs[rows].tolist()]
        known_scores = zip(pairs, problem.scores[rows].tolist(), strict=True)
        return [(pair, score) for pair, score in known_scores if pair not in known][:most]

    return choose


def asked(traffic: Traffic, options: LinkOptions, choose: Choose, *, answers: int, a_round: int) -> list[float]:
    """IDF1 before and after every round."""
    seen = all_seen(traffic.gallery.locations.index)
    made = comparisons.read(traffic.gallery.root)
    truth = dict(zip(traffic.ids, traffic.truth, strict=True))
    known: set[Pair] = set()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Answers(Path(folder))
        while True:
            problem = problem_of(seen, made, kept, options)
            of = {one.id: int(label) for one, label in zip(problem.seen, problem.grouping().labels, strict=True)}
            found.append(traffic.judge([of[one] for one in traffic.ids]).idf1)
            if len(known) >= answers:
                return found
            for pair, score in choose(problem, known, min(a_round, answers - len(known))):
                same = truth[pair[0]] == truth[pair[1]] is not None
                kept.add([pair], "same" if same else "different", by="truth", when=float(len(known)), score=score)
                known.add(pair)


def main() -> None:
    """Ask in each way, and write the table."""
    given = OmegaConf.from_cli()
    bundle, answers, a_round = Path(given.bundle), given.get("answers", 100), given.get("round", 10)
    embedder = load_reid_model(bundle)
    folders = [registered(Path(folder), Path(given.galleries), bundle, embedder) for folder in given.traffic]
    ways: dict[str, list[list[float]]] = {}
    for traffic in folders:
        table = TravelTimes.read(traffic.folder / "travel_times.csv") if given.get("times", False) else None
        options = LinkOptions(threshold_for_links(embedder.calibration), travel_times=table, use_plates=False)
        store = open_store(str(traffic.gallery.root / ".index"), name="vehicles")
        link(traffic.gallery, store, options)
        store.close()

        def ask(choose: Choose, traffic: Traffic = traffic, options: LinkOptions = options) -> list[float]:
            return asked(traffic, options, choose, answers=answers, a_round=a_round)

        ways.setdefault("reid review", []).append(ask(useful))
        for near, name in ((False, "random pairs"), (True, f"random pairs within {NEAR} of the threshold")):
            for seed in range(given.get("seeds", 3)):
                ways.setdefault(name, []).append(ask(drawn(np.random.default_rng(seed), near=near)))
    rows = [_row(name, found, answers=answers, a_round=a_round) for name, found in ways.items()]
    note = (
        f"IDF1 in percent, {', '.join(one.name for one in folders)}, rounds of {a_round}; random ones are means of "
        f"{given.get('seeds', 3)} draws. {'With' if given.get('times', False) else 'Without'} travel times, no plates."
    )
    report(given.get("name", "review"), rows, Path(given.get("output", "benchmarks/results")), note=note)


def _row(name: str, found: Sequence[Sequence[float]], *, answers: int, a_round: int) -> dict[str, str]:
    means = 100 * np.mean(np.array(found), axis=0)
    row = {"asked about": name, "before": f"{means[0]:.1f}"}
    for number in (1, 3, 5):
        if number * a_round < answers:
            row[f"after {number * a_round}"] = f"{means[number]:.1f}"
    return {**row, f"after {answers}": f"{means[-1]:.1f}"}


if __name__ == "__main__":
    main()
