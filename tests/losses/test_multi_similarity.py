"""Multi-similarity: the formula and its choice of pairs anchor by anchor, against pytorch-metric-learning, extremes."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_metric_learning import losses as metric_learning
from pytorch_metric_learning import miners

from reid_lightning.errors import ReIDError
from reid_lightning.losses import Memory, MultiSimilarityLoss, multi_similarity_loss

SETTINGS = {"alpha": 2.0, "beta": 50.0, "base": 0.5}
PAIRED = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
UNEVEN = torch.tensor([0, 0, 1, 2, 3, 4, 5, 5])


def slow(
    embeddings: torch.Tensor, labels: torch.Tensor, *, epsilon: float | None, memory: Memory | None = None
) -> float:
    rows, names = embeddings.double(), labels.tolist()
    if memory is not None:
        rows, names = torch.cat((rows, memory.embeddings.double())), names + memory.labels.tolist()
    total = 0.0
    for anchor in range(len(embeddings)):
        positives, negatives = [], []
        for other in range(len(rows)):
            if other == anchor or names[other] < 0:
                continue
            s = (rows[anchor] @ rows[other] / (rows[anchor].norm() * rows[other].norm())).item()
            (positives if names[other] == names[anchor] else negatives).append(s)
        if epsilon is not None:
            kept_p = [s for s in positives if negatives and s < max(negatives) + epsilon]
            kept_n = [s for s in negatives if positives and s > min(positives) - epsilon]
            positives, negatives = kept_p, kept_n
        total += math.log(1 + sum(math.exp(-2.0 * (s - 0.5)) for s in positives)) / 2.0
        total += math.log(1 + sum(math.exp(50.0 * (s - 0.5)) for s in negatives)) / 50.0
    return total / len(embeddings)


def test_by_hand() -> None:
    # Rows at 0, 60 and 90 degrees; the first two are one vehicle. alpha = 2, beta = 4, base = 0.5, every pair:
    #   anchor 1: s_p = 1/2: log(2) / 2 = 0.346574; s_n = 0: log(1 + e^-2) / 4 = 0.031732
    #   anchor 2: the same positive; s_n = sqrt(3)/2: log(1 + e^(4 * 0.366025)) / 4 = 0.418053
    #   anchor 3: no positive; s_n = 0 and sqrt(3)/2: log(1 + e^-2 + e^1.464102) / 4 = 0.424289
    # Their mean is (0.378306 + 0.764627 + 0.424289) / 3 = 0.522407.
    angles = torch.tensor([0.0, math.pi / 3, math.pi / 2])
    embeddings = torch.stack((angles.cos(), angles.sin()), dim=1)
    value = multi_similarity_loss(embeddings, torch.tensor([0, 0, 1]), alpha=2.0, beta=4.0, base=0.5, epsilon=None)
    assert value.item() == pytest.approx(0.522407, abs=1e-5)


@pytest.mark.parametrize("epsilon", [None, 0.0, 0.1, 3.0])
@pytest.mark.parametrize("labels", [PAIRED, UNEVEN])
def test_equals_a_slow_loop(labels: torch.Tensor, epsilon: float | None) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(8, 6) * 3
    value = multi_similarity_loss(embeddings, labels, epsilon=epsilon, **SETTINGS)
    assert value.item() == pytest.approx(slow(embeddings, labels, epsilon=epsilon), rel=1e-5)


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_a_memory_adds_candidates(epsilon: float | None) -> None:
    torch.manual_seed(0)
    embeddings, memory = torch.randn(8, 6), Memory(torch.randn(5, 6), torch.tensor([2, -1, 0, 4, -1]))
    value = multi_similarity_loss(embeddings, UNEVEN, epsilon=epsilon, memory=memory, **SETTINGS)
    assert value.item() == pytest.approx(slow(embeddings, UNEVEN, epsilon=epsilon, memory=memory), rel=1e-5)


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_equals_pytorch_metric_learning(epsilon: float | None) -> None:
    torch.manual_seed(2)
    embeddings, labels = torch.randn(24, 8), torch.arange(24) // 4
    theirs = metric_learning.MultiSimilarityLoss(**SETTINGS)
    mined = None if epsilon is None else miners.MultiSimilarityMiner(epsilon=epsilon)(embeddings, labels)
    value = multi_similarity_loss(embeddings, labels, epsilon=epsilon, **SETTINGS)
    torch.testing.assert_close(value, theirs(embeddings, labels, mined))


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_gradient(epsilon: float | None) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda rows: multi_similarity_loss(rows, PAIRED, epsilon=epsilon, **SETTINGS), embeddings)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 0, 0]], ids=["no positives", "no negatives"])
def test_batches_without_informative_pairs_give_0_and_keep_the_graph(labels: list[int]) -> None:
    torch.manual_seed(0)
    embeddings = torch.randn(4, 3, requires_grad=True)
    value = multi_similarity_loss(embeddings, torch.tensor(labels), epsilon=0.1, **SETTINGS)
    value.backward()
    assert value.item() == 0.0 and embeddings.grad.abs().sum() == 0


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e15])
def test_extreme_similarities_and_scales_give_no_nan(scale: float) -> None:
    embeddings = (torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]) * scale).requires_grad_()
    value = multi_similarity_loss(
        embeddings, torch.tensor([0, 0, 1, 1]), alpha=500.0, beta=5000.0, base=0.5, epsilon=0.1
    )
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(embeddings.grad).all()
    if scale == 1.0:  # positives at -1, negatives at 1, and nothing but the worst of them counts
        assert value.item() == pytest.approx(1.5 + 0.5, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embeddings, labels = torch.randn(8, 8).to(dtype).requires_grad_(), PAIRED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = MultiSimilarityLoss(epsilon=0.1, **SETTINGS)(embeddings, labels)
    assert value.dtype == torch.float32
    assert torch.equal(value, multi_similarity_loss(embeddings.float(), labels, epsilon=0.1, **SETTINGS))
    value.backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"beta": -1.0}, {"base": 2.0}, {"epsilon": -0.1}])
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ReIDError, match=f"{name}={value}"):
        MultiSimilarityLoss(**{**SETTINGS, "epsilon": 0.1, **wrong})
