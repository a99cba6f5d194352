"""Joining by weighed pairs: the surest first, nothing that cannot be, and the same as a slow loop over all groups."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lightning.search.linking.grouping import group


def grouped(count: int, weights: dict[tuple[int, int], float], **options: object) -> list[list[int]]:
    pairs = np.array(list(weights), np.int64).reshape(-1, 2)
    labels = group(count, pairs, np.array(list(weights.values()), float), **{"unweighed": -4.0, **options}).labels
    assert all(labels[label] == label for label in labels)
    return sorted(np.flatnonzero(labels == label).tolist() for label in set(labels.tolist()))


def test_nothing_said_of_anybody_leaves_everybody_alone() -> None:
    assert grouped(3, {}) == [[0], [1], [2]]


def test_pairs_that_are_likelier_one_than_two_are_joined() -> None:
    assert grouped(4, {(0, 1): 2.0, (2, 3): -0.1}) == [[0, 1], [2], [3]]


def test_one_sure_pair_does_not_join_two_groups_that_differ_otherwise() -> None:
    """0-1 and 2-3 are surely one each; 1-2 alone would join them if the greatest weight counted."""
    weights = {(0, 1): 5.0, (2, 3): 5.0, (1, 2): 3.0}  # mean between the two: (3 - 4 - 4 - 4) / 4
    assert grouped(4, weights) == [[0, 1], [2, 3]]
    assert grouped(4, {**weights, (0, 2): 3.0, (1, 3): 3.0, (0, 3): 3.0}) == [[0, 1, 2, 3]]


def test_a_word_joins_whatever_the_weights_say_and_a_conflict_parts() -> None:
    assert grouped(3, {(0, 1): -9.0}, together=[(1, 0)]) == [[0, 1], [2]]
    never = lambda one, other: 2 in (*one, *other)  # noqa: E731
    assert grouped(3, {(0, 2): 9.0, (0, 1): 1.0}, conflict=never) == [[0, 1], [2]]


def test_a_conflict_holds_for_whoever_was_joined_with_one_of_the_two() -> None:
    apart = lambda one, other: (0 in one and 2 in other) or (2 in one and 0 in other)  # noqa: E731
    assert grouped(3, {(0, 1): 5.0, (1, 2): 4.0, (0, 2): 3.0}, conflict=apart) == [[0, 1], [2]]


def slowly(
    count: int, weights: dict[tuple[int, int], float], together: list[tuple[int, int]], apart: set
) -> list[list[int]]:
    groups = [[number] for number in range(count)]

    def joined(one: list[int], other: list[int]) -> None:
        groups.remove(one)
        groups.remove(other)
        groups.append(sorted(one + other))

    for one, other in together:
        a, b = (next(some for some in groups if number in some) for number in (one, other))
        if a != b:
            joined(a, b)
    while True:
        best = None
        for a, b in combinations(sorted(groups), 2):
            mean = np.mean([weights.get((min(i, j), max(i, j)), -4.0) for i in a for j in b])
            known = any((min(i, j), max(i, j)) in weights for i in a for j in b)
            barred = any((min(i, j), max(i, j)) in apart for i in a for j in b)
            if known and not barred and mean > 1e-9 and (best is None or mean > best[0] + 1e-9):
                best = mean, a, b
        if best is None:
            return sorted(groups)
        joined(best[1], best[2])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_is_what_a_slow_loop_finds(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    all_pairs = list(combinations(range(count), 2))
    some = data.draw(st.lists(st.sampled_from(all_pairs), unique=True)) if all_pairs else []
    random = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    weights = {pair: float(random.normal(0.5, 3)) for pair in some}
    together = data.draw(st.lists(st.sampled_from(all_pairs), max_size=2)) if all_pairs else []
    apart = set(data.draw(st.lists(st.sampled_from(all_pairs), max_size=3))) if all_pairs else set()

    def conflict(one: list[int], other: list[int]) -> bool:
        return any((min(i, j), max(i, j)) in apart for i in one for j in other)

    found = grouped(count, weights, together=together, conflict=conflict)
    assert found == slowly(count, weights, together, apart)


@pytest.mark.parametrize("seed", range(3))
def test_does_not_depend_on_the_order_of_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    pairs = np.array(list(combinations(range(30), 2)))
    weights = np.round(random.normal(-1, 2, len(pairs)))  # with many ties
    order = random.permutation(len(pairs))
    found = [group(30, pairs[rows], weights[rows], unweighed=-3.0).labels.tolist() for rows in (slice(None), order)]
    assert found[0] == found[1]


def test_seams_are_where_a_vehicle_would_fall_apart_and_where_two_might_be_one() -> None:
    weights = {(0, 1): 5.0, (1, 2): 3.0, (0, 2): 1.0, (2, 3): -1.0, (4, 5): 2.0, (3, 5): 1.0, (3, 4): -1.5}
    pairs = np.array(list(weights))
    found = group(
        6,
        pairs,
        np.array(list(weights.values())),
        unweighed=-4.0,
        conflict=lambda one, other: {3} == {*one, *other} & {3} and {4, 5} <= {*one, *other},
        with_seams=True,
    )
    assert found.labels.tolist() == [0, 0, 0, 3, 4, 4]
    seams = {(seam.one, seam.other): (seam.weight, seam.joined) for seam in found.seams}
    assert seams == {
        ((0, 1), (2,)): (2.0, True),
        ((4,), (5,)): (2.0, True),
        ((0, 1, 2), (3,)): (-3.0, False),  # (-1 - 4 - 4) / 3
    }
