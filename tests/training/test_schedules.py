import itertools

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.training.schedules import warmup_cosine, warmup_multistep


def rates(schedule, steps, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, total_steps=steps, **options)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_cosine_warms_up_peaks_and_ends_low():
    values = rates(warmup_cosine, 100, warmup=0.2, start=0.1, end=0.05)
    assert values[0] == pytest.approx(0.2)
    assert values[10] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert max(values) == values[20] == pytest.approx(2.0)
    assert values[60] == pytest.approx(2.0 * (0.05 + 0.95 * 0.5))
    assert values[-1] == pytest.approx(0.1, abs=0.01)
    assert all(later <= earlier for earlier, later in itertools.pairwise(values[20:]))


def test_multistep_drops_at_its_milestones():
    values = rates(warmup_multistep, 100, warmup=0.0, milestones=(0.5, 0.8), gamma=0.1)
    assert values[49] == 2.0
    assert values[50] == pytest.approx(0.2)
    assert values[80] == pytest.approx(0.02)


def test_a_share_above_one_is_named():
    with pytest.raises(ReIDError, match="milestones"):
        rates(warmup_multistep, 10, milestones=(40, 70))
