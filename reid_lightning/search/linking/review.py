"""What is worth asking a person: the pairs of sightings whose answer changes most of what was linked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reid_lightning.search.linking.answers import pair_of
from reid_lightning.search.linking.evidence import Evidence, Rules
from reid_lightning.search.linking.grouping import Seam
from reid_lightning.search.linking.problem import Problem


@dataclass(frozen=True)
class Question:
    """Are these two sightings one vehicle?

    `joined`: they are linked now. `worth` is how many pairs of sightings would be linked otherwise by the answer that
    is not expected, times how likely that is. `evidence` is what is known of the pair. `score` is the mean evidence
    between the groups that they belong to, as a similarity: that is why the pair is asked about, and what its answer
    says something of (`recalibrated`).
    """

    one: str
    other: str
    joined: bool
    worth: float
    evidence: Evidence
    score: float


def questions(problem: Problem, *, unsure: Iterable[tuple[str, str]] = (), most: int = 10) -> list[Question]:
    """The `most` questions that are worth most, at most one about each vehicle: an answer changes what its others are
    worth.

    A seam between groups of a and b sightings with mean weight w is one vehicle with p = 1 / (1 + e^-w); asking is
    worth a b p where they are apart, and a b (1 - p) where they are joined. Asked about is the pair of the seam that
    is most alike. Pairs in `unsure` are asked about no more.
    """
    seen, similarity = problem.seen, dict(zip(map(tuple, problem.pairs.tolist()), problem.scores.tolist(), strict=True))
    tired = {pair_of(*pair) for pair in unsure}
    certain = {*problem.together}
    weighed = sorted(problem.grouping(with_seams=True).seams, key=lambda seam: (-_worth(seam), seam.one, seam.other))
    found: list[Question] = []
    asked: set[int] = set()
    for seam in weighed:
        if len(found) == most:
            break
        if not asked.isdisjoint((*seam.one, *seam.other)):
            continue
        pairs = [
            (similarity[pair], pair)
            for one in seam.one
            for other in seam.other
            if (pair := (min(one, other), max(one, other))) in similarity
            and pair not in certain
            and pair_of(seen[pair[0]].id, seen[pair[1]].id) not in tired
        ]
        if not pairs:
            continue
        score, (one, other) = max(pairs, key=lambda entry: (entry[0], -entry[1][0], -entry[1][1]))
        asked.update((*seam.one, *seam.other))
        evidence = problem.rules.of(seen[one], seen[other], score)
        ids, as_score = (seen[one].id, seen[other].id), _score(seam, problem.rules)
        found.append(Question(*ids, seam.joined, _worth(seam), evidence, as_score))
    return found


def score_of(problem: Problem, one: str, other: str) -> float | None:
    """The `score` of the question whether two sightings are one vehicle; None: nobody would ask it, since they are one
    for other reasons, or were not compared."""
    number = {seen.id: row for row, seen in enumerate(problem.seen)}
    a, b = number.get(one, -1), number.get(other, -1)
    for seam in problem.grouping(with_seams=True).seams:
        if (a in seam.one and b in seam.other) or (b in seam.one and a in seam.other):
            return _score(seam, problem.rules)
    return None


def _score(seam: Seam, rules: Rules) -> float:
    return min(max(rules.threshold + seam.weight / rules.steepness, -1.0), 1.0)


def _worth(seam: Seam) -> float:
    same = 1 / (1 + math.exp(-min(max(seam.weight, -50.0), 50.0)))
    return len(seam.one) * len(seam.other) * (1 - same if seam.joined else same)
