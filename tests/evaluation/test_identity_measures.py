"""Identity measures against numbers worked out by hand, another implementation and slow loops."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from sklearn.metrics.cluster import pair_confusion_matrix

from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.identity_measures import identity_measures


def test_by_hand() -> None:
    """Vehicle a is seen three times, found as 1, 1, 2; b twice, found as 2, 3."""
    found = identity_measures([1, 1, 2, 2, 3], ["a", "a", "a", "b", "b"], missed=1)
    assert found.idp == pytest.approx(3 / 5)  # 1 is a (2), 2 is b (1)
    assert found.idr == pytest.approx(3 / 6)
    assert found.idf1 == pytest.approx(2 * 3 / (5 + 6))
    assert (found.pairwise_precision, found.pairwise_recall) == (pytest.approx(1 / 2), pytest.approx(1 / 4))
    assert found.bcubed_precision == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)
    assert found.bcubed_recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 5)
    assert (found.found_vehicles, found.true_vehicles, found.sightings) == (3, 2, 5)


def test_all_right_is_one_and_nothing_joined_is_sure_but_finds_nothing() -> None:
    truth = ["a", "a", "b", "c"]
    right = identity_measures([7, 7, 8, 9], truth)
    assert (right.idf1, right.pairwise_f1, right.bcubed_f1) == (1.0, 1.0, 1.0)
    alone = identity_measures([1, 2, 3, 4], truth)
    assert (alone.pairwise_precision, alone.pairwise_recall) == (1.0, 0.0)
    assert alone.idf1 == pytest.approx(2 * 3 / 8)


def test_what_is_no_vehicle_is_never_right() -> None:
    found = identity_measures([1, 1, 2], ["a", None, None])
    assert (found.idp, found.idr) == (pytest.approx(1 / 3), 1.0)
    assert (found.pairwise_precision, found.pairwise_recall) == (0.0, 1.0)
    assert found.bcubed_recall == 1.0
    assert found.bcubed_precision == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


@pytest.mark.parametrize("seed", range(8))
def test_is_what_slow_loops_and_scikit_learn_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 14
    found, truth = random.integers(0, 5, count).tolist(), random.integers(0, 4, count).tolist()
    ours = identity_measures(found, truth)
    (_, wrong), (lost, right) = pair_confusion_matrix(truth, found) // 2
    assert ours.pairwise_precision == pytest.approx(right / (right + wrong) if right + wrong else 1.0)
    assert ours.pairwise_recall == pytest.approx(right / (right + lost) if right + lost else 1.0)
    best = max(
        sum(
            found[row] == one and truth[row] == name
            for one, name in zip(chosen, range(4), strict=True)
            for row in range(count)
        )
        for chosen in permutations(range(5), 4)
    )
    assert ours.idf1 == pytest.approx(best / count)
    precision = [np.mean([truth[j] == truth[i] for j in range(count) if found[j] == found[i]]) for i in range(count)]
    recall = [np.mean([found[j] == found[i] for j in range(count) if truth[j] == truth[i]]) for i in range(count)]
    assert ours.bcubed_precision == pytest.approx(np.mean(precision))
    assert ours.bcubed_recall == pytest.approx(np.mean(recall))
    assert sum(found[i] == found[j] for i, j in combinations(range(count), 2)) == right + wrong


def test_what_does_not_fit_is_refused() -> None:
    for found, truth, missed in (([], [], 0), ([1], ["a", "b"], 0), ([1], ["a"], -1)):
        with pytest.raises(ReIDError, match="expected one of each for every sighting"):
            identity_measures(found, truth, missed=missed)
