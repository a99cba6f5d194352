"""Losses and miners of pytorch-metric-learning as terms of the weighted sum."""

from __future__ import annotations

import functools

import torch
from pytorch_metric_learning import losses, miners

from reid_lightning.losses import MinedLoss, WeightedSum
from reid_lightning.models import ReIDOutput


def test_the_miner_chooses_the_pairs() -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(12, 4), torch.arange(12) // 3
    loss, miner = losses.TripletMarginLoss(margin=0.2), miners.BatchHardMiner()
    expected = loss(rows, labels, miner(rows, labels))
    assert torch.equal(MinedLoss(loss, miner=miner)(rows, labels), expected)
    assert not torch.equal(loss(rows, labels), expected)


def test_a_loss_with_proxies_is_finished_with_the_sizes_it_asks_for() -> None:
    loss = functools.partial(losses.ProxyAnchorLoss, margin=0.1, alpha=32.0)
    term = {"weight": 1.0, "input": "embeddings", "loss": loss}
    weighted = WeightedSum({"proxy": term}, num_identities=3, embedding_dim=4)
    assert [tuple(parameter.shape) for parameter in weighted.parameters()] == [(3, 4)]
    rows = torch.randn(6, 4, requires_grad=True)
    weighted(ReIDOutput(rows, rows), torch.arange(6) % 3)["total"].backward()
    assert rows.grad.abs().sum() > 0
