"""The tables of `reid link` and `reid review`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from itertools import combinations

from reid_lightning.commands.gallery_tables import print_table, span_of
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.tables import Name, date, new_table, say
from reid_lightning.search.gallery.sighting_list import Seen
from reid_lightning.search.linking.answers import Answer
from reid_lightning.search.linking.evidence import Evidence, is_sure
from reid_lightning.search.linking.links import LinkedVehicle
from reid_lightning.search.linking.problem import Problem
from reid_lightning.search.linking.review import Question

_WIDE = 24
_MOST = 30
"""Pairs of a vehicle that are explained, those that speak loudest."""


def print_links(vehicles: Iterable[LinkedVehicle], seen: Mapping[str, Seen]) -> None:
    """A row for each vehicle: its way over the cameras, and when."""
    table = new_table("vehicle", "seen", "folders", "way", "when (UTC)", names=("vehicle", "way"))
    for vehicle in vehicles:
        known = [seen[one] for one in vehicle.sightings if one in seen]
        way = " > ".join(one.camera or "?" for one in known)
        starts = [one.start for one in known if one.start is not None]
        when = span_of(min(starts, default=None), max(starts, default=None))
        numbers = (str(len(vehicle.sightings)), str(len(vehicle.folders)))
        table.add_row(Name(plain_text(vehicle.name), least=_WIDE), *numbers, Name(plain_text(way)), when)
    print_table(table)


def print_evidence(vehicle: LinkedVehicle, problem: Problem) -> None:
    """What joins the sightings of a vehicle, pair by pair, the most telling first."""
    number = {one.id: row for row, one in enumerate(problem.seen)}
    rows = [number[one] for one in vehicle.sightings if one in number]
    seen = [problem.seen[row] for row in rows]
    table = new_table("sighting", "camera", "when (UTC)", "plate", "folder", names=("sighting", "camera", "folder"))
    for one in seen:
        plate = "" if one.plate is None else f"{one.plate} ({one.plate_confidence:.2f})"
        names = (Name(one.id, least=16), Name(plain_text(one.camera)))
        table.add_row(*names, date(one.start, UTC), plain_text(plate), Name(plain_text(one.vehicle)))
    print_table(table)
    if len(rows) < 2:
        say(f"{vehicle.name} was seen once; nothing was joined.")
        return
    score = dict(zip(map(tuple, problem.pairs.tolist()), problem.scores.tolist(), strict=True))
    said = {pair: "a person's word or folder" for pair in map(_sorted, problem.together)}
    pairs = [_sorted(pair) for pair in combinations(rows, 2)]
    evidence = {pair: problem.rules.of(problem.seen[pair[0]], problem.seen[pair[1]], score.get(pair)) for pair in pairs}
    pairs.sort(key=lambda pair: (pair not in said, -evidence[pair].weight, pair))
    table = new_table("one", "other", "weight", "looks", "time", "plates", "because", names=("one", "other", "because"))
    for pair in pairs[:_MOST]:
        one, other = (problem.seen[row] for row in pair)
        found = evidence[pair]
        looks = "-" if found.looks is None else f"{found.looks:+.1f}"
        weights = (f"{found.weight:+.1f}", looks, f"{found.travel:+.1f}", f"{found.plates:+.1f}")
        because = said.get(pair) or reasons(found, one, other, problem.rules.threshold)
        table.add_row(Name(one.id, least=16), Name(other.id, least=16), *weights, Name(plain_text(because), least=30))
    print_table(table)
    if len(pairs) > _MOST:
        say(f"and {len(pairs) - _MOST:,} more pairs")
    say(f"{vehicle.name}: looks count from {problem.rules.threshold:.2f} on; {problem.basis}")


def reasons(found: Evidence, one: Seen, other: Seen, threshold: float) -> str:
    """Evidence in words."""
    said = []
    if found.similarity is not None:
        said.append(f"looks {found.similarity:.2f} (from {threshold:.2f})")
    if found.plates:
        how = "surely" if is_sure(one) and is_sure(other) else "doubtfully"
        said.append(f"plates {one.plate} and {other.plate}, read {how}")
    if found.seconds is not None and one.camera != other.camera:
        said.append(f"{found.seconds:,.0f} s from {one.camera} to {other.camera}")
    return ", ".join(said) or "nothing was compared"


def print_questions(asked: Sequence[Question], problem: Problem) -> None:
    """A row for each, the most useful first."""
    seen = {one.id: one for one in problem.seen}
    table = new_table("pair", "worth", "linked", "because", names=("pair", "because"))
    for question in asked:
        because = reasons(question.evidence, seen[question.one], seen[question.other], problem.rules.threshold)
        joined = "one" if question.joined else "two"
        pair = Name(f"{question.one},{question.other}", least=33)
        table.add_row(pair, f"{question.worth:.2f}", joined, Name(plain_text(because), least=30))
    print_table(table)


def print_answers(answers: Iterable[Answer]) -> None:
    """A row for each."""
    table = new_table("answer", "says", "pair", "by", "when (UTC)", names=("pair", "by"))
    for answer in answers:
        more = f" and {len(answer.pairs) - 1:,} more" if len(answer.pairs) > 1 else ""
        pair = Name(f"{','.join(answer.pairs[0])}{more}", least=33)
        table.add_row(answer.id, answer.says, pair, Name(plain_text(answer.by)), date(answer.when, UTC))
    print_table(table)


def _sorted(pair: tuple[int, int]) -> tuple[int, int]:
    return (min(pair), max(pair))
