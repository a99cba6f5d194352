import itertools

import numpy as np
import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import confidence
from reid_lightning.ranking.confidence import bootstrap_intervals


def bootstrap_interval(values, **settings):
    """Of one column, (n,)."""
    low, high = bootstrap_intervals(values[:, None], **settings)[0].tolist()
    return low, high


def test_equals_all_resamples_listed_by_hand():
    # Of 3 rows there are 27 equally likely resamples, of which 20,000 draws are a fair sample.
    values = [0.0, 0.3, 0.9]
    means = [sum(drawn) / 3 for drawn in itertools.product(values, repeat=3)]
    low, high = bootstrap_interval(torch.tensor(values, dtype=torch.float64), resamples=20_000, level=0.8)
    expected_low, expected_high = np.quantile(means, [0.1, 0.9], method="inverted_cdf")
    assert (low, high) == (pytest.approx(expected_low), pytest.approx(expected_high))


def test_groups_are_drawn_whole():
    # Two groups: the sums of two draws are (a, a), (a, b) twice or (b, b); a has one row, b three.
    values = torch.tensor([1.0, 0.0, 0.0, 0.6])
    low, high = bootstrap_interval(values, groups=["a", "b", "b", "b"], resamples=4000, level=0.9)
    assert (low, high) == (pytest.approx(0.2), pytest.approx(1.0))  # (b, b) gives .6 / 3, (a, a) 1 / 1
    low, high = bootstrap_interval(values, groups=["a", "b", "b", "b"], resamples=4000, level=0.2)
    assert low == high == pytest.approx(1.6 / 4)  # the middle fifth lies inside the half that drew both


@pytest.mark.parametrize("grouped", [False, True])
def test_as_wide_as_the_normal_approximation(grouped):
    generator = torch.Generator().manual_seed(1)
    identities = torch.arange(2000) // 10
    vehicles = torch.randn(200, generator=generator, dtype=torch.float64)
    values = vehicles[identities] + torch.randn(2000, generator=generator, dtype=torch.float64)
    low, high = bootstrap_interval(values, resamples=4000, groups=identities if grouped else None)
    units = values.view(200, 10).mean(dim=1) if grouped else values
    error, mean = 1.96 * units.std().item() / len(units) ** 0.5, values.mean().item()
    assert low == pytest.approx(mean - error, abs=0.05 * error)
    assert high == pytest.approx(mean + error, abs=0.05 * error)


def test_groups_of_one_row_are_no_groups():
    values = torch.rand(50, generator=torch.Generator().manual_seed(2))
    assert bootstrap_interval(values, groups=range(50)) == bootstrap_interval(values)


def test_columns_share_their_draws():
    values = torch.rand(60, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    intervals = bootstrap_intervals(torch.cat([values, values, 1 - values], dim=1))
    assert intervals.shape == (3, 2) and intervals.dtype == torch.float64
    assert torch.equal(intervals[0], intervals[1])
    assert torch.allclose(1 - intervals[2].flip(0), intervals[0])
    assert bootstrap_interval(values[:, 0]) == tuple(intervals[0].tolist())


def test_the_seed_decides_and_nothing_else():
    values = torch.rand(40, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = bootstrap_interval(values, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert first == bootstrap_interval(values, seed=7) != bootstrap_interval(values, seed=8)


def test_draws_in_small_chunks_are_as_good(monkeypatch):
    monkeypatch.setattr(confidence, "_CHUNK_ELEMENTS", 100)  # 3 resamples at a time, and one for the rest
    values = torch.arange(30, dtype=torch.float64)
    low, high = bootstrap_interval(values, resamples=4000)
    error = 1.96 * values.std(correction=0).item() / 30**0.5
    assert (low, high) == (pytest.approx(14.5 - error, abs=0.15), pytest.approx(14.5 + error, abs=0.15))


def test_a_higher_level_is_wider():
    values = torch.rand(100, generator=torch.Generator().manual_seed(5))
    (inner_low, inner_high), (outer_low, outer_high) = (bootstrap_interval(values, level=one) for one in (0.5, 0.99))
    assert outer_low < inner_low < values.mean() < inner_high < outer_high


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_one_value_is_its_own_interval(dtype):
    value = torch.tensor([0.7], dtype=dtype)
    assert bootstrap_interval(value) == (value.item(), value.item())
    assert bootstrap_interval(torch.ones(5), groups=[3] * 5) == (1, 1)
    assert bootstrap_interval(torch.tensor([0.25, 0.75]), groups=["a", "a"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("values", "changes", "words"),
    [
        (torch.tensor([[0.5], [torch.nan]]), {}, "NaN or infinity, first in row 1"),
        (torch.tensor([[torch.inf]]), {}, "NaN or infinity, first in row 0"),
        (torch.empty(0, 1), {}, r"values is \(0, 1\)"),
        (torch.ones(3), {}, r"values is \(3,\); expected a tensor \(n, k\)"),
        ([0.5], {}, "values is list"),
        (torch.ones(2, 1), {"resamples": 0}, "resamples is 0"),
        (torch.ones(2, 1), {"level": 95}, "level is 95"),
        (torch.ones(2, 1), {"groups": torch.tensor([1])}, "groups has 1 entries for 2 rows"),
    ],
)
def test_mistakes_are_named(values, changes, words):
    with pytest.raises(ReIDError, match=words):
        bootstrap_intervals(values, **changes)
