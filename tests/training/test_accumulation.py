"""Gradient accumulation: whole PK batches, the mean gradient in every step, a schedule that counts optimiser steps."""

import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import LambdaLR
from toy_run import PREPROCESSING, batches, noise_pictures, quiet_trainer

from reid_lightning.losses import TripletLoss, WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.training.accumulation import last_step_factor
from reid_lightning.training.module import ReIDModule

BATCHES, EPOCHS, LR = 5, 2, 0.1


def test_the_last_step_of_an_epoch_is_left_with_the_rest():
    factors = [last_step_factor(index, batches=5, accumulate=3) for index in range(5)]
    assert factors == [1, 1, 1, 1.5, 1.5]
    assert [last_step_factor(index, batches=4, accumulate=2) for index in range(4)] == [1, 1, 1, 1]
    assert [last_step_factor(index, batches=2, accumulate=8) for index in range(2)] == [4, 4]
    assert last_step_factor(7, batches=float("inf"), accumulate=4) == 1
    assert last_step_factor(3, batches=5, accumulate=1) == 1


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"), identities="abcdefghij", images_per_identity=2)


class Watch(pl.Callback):
    """Keeps batches, weights before each of them, and the rates at which the optimiser stepped."""

    def __init__(self):
        self.batches, self.rates = [], []

    def on_train_start(self, trainer, module):
        self.start = copy.deepcopy(module)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def train(dataset, folder, *, accumulate):
    datamodule = batches(dataset, 2, 2)
    torch.manual_seed(0)
    model = ReIDModel("test_convnext", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=8)
    terms = {"triplet": {"weight": 1.0, "input": "embeddings", "loss": TripletLoss(margin=1.0)}}
    loss = WeightedSum(terms, num_identities=10, embedding_dim=8)
    seen = []

    def schedule(optimizer, *, total_steps):
        seen.append(total_steps)
        return LambdaLR(optimizer, lambda step: 1 - step / total_steps)

    watch = Watch()
    module = ReIDModule(
        model, loss, PREPROCESSING, optimizer=partial(torch.optim.SGD, lr=LR, weight_decay=0.0), scheduler=schedule
    )
    options = {"accumulate_grad_batches": accumulate, "max_epochs": EPOCHS, "limit_val_batches": 0}
    trainer = quiet_trainer(folder, callbacks=[watch], **options)
    trainer.fit(module, datamodule)
    return module, watch, seen, trainer.global_step


@pytest.mark.parametrize("accumulate", [2, 7])
def test_each_step_takes_the_mean_gradient_of_whole_pk_batches(dataset, tmp_path, accumulate):
    module, watch, totals, steps = train(dataset, tmp_path, accumulate=accumulate)
    for batch in watch.batches:
        assert batch.labels.unique(return_counts=True)[1].tolist() == [2, 2]
    of_epochs = [watch.batches[: len(watch.batches) // EPOCHS], watch.batches[len(watch.batches) // EPOCHS :]]
    groups = [epoch[start : start + accumulate] for epoch in of_epochs for start in range(0, len(epoch), accumulate)]
    assert len(of_epochs[0]) == BATCHES and len(groups) == steps  # an epoch's rest is a step of its own
    assert totals == [steps]
    assert watch.rates == pytest.approx([LR * (1 - step / steps) for step in range(steps)])

    slow = watch.start
    for rate, group in zip(watch.rates, groups, strict=True):
        gradients = []
        for batch in group:
            loss = slow.loss(slow.model(batch.images), batch.labels)["total"]
            gradients.append(torch.autograd.grad(loss, list(slow.model.parameters()), allow_unused=True))
        with torch.no_grad():
            for parameter, *parts in zip(slow.model.parameters(), *gradients, strict=True):
                if parts[0] is not None:
                    parameter -= rate * sum(parts) / len(group)
    for name, value in slow.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
