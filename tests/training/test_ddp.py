"""Two processes with half the batch each learn what one process with the whole batch learns."""

import os
from functools import partial

import pytest
import torch
from toy_run import PREPROCESSING, batches, free_port, noise_pictures, quiet_trainer, run_ranks

from reid_lightning.losses import CircleLoss, ContrastiveLoss, IDLoss, TripletLoss, WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.training.module import ReIDModule

STEPS = 5
LOSSES = {
    "contrastive": ContrastiveLoss(margin=1.0),
    "circle": CircleLoss(margin=0.25, gamma=16.0),
    "triplet": TripletLoss(margin=0.3),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"), images_per_identity=12)


def trained(dataset, loss, folder, *, ranks):
    """The module after STEPS optimiser steps with 4 identities x 3 pictures over all ranks; layer norms only."""
    datamodule = batches(dataset, 4 // ranks, 3)
    torch.manual_seed(0)
    model = ReIDModel("test_convnext", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16)
    terms = {
        "metric": {"weight": 1.0, "input": "embeddings", "loss": loss},
        "id": {"weight": 0.5, "input": "embeddings", "loss": partial(IDLoss, label_smoothing=0.1)},
    }
    weighted = WeightedSum(terms, num_identities=datamodule.num_identities, embedding_dim=16)
    module = ReIDModule(model, weighted, PREPROCESSING, optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    strategy = "ddp" if ranks > 1 else "auto"
    trainer = quiet_trainer(folder, devices=ranks, strategy=strategy, max_steps=STEPS, limit_val_batches=0)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer.fit(module, datamodule)
    moved = max(float((value - before[name]).abs().max()) for name, value in module.state_dict().items())
    assert moved > 1e-3  # it has learned something at all
    return module.state_dict()


def one_rank(rank, port, dataset, folder):
    """What each of the two processes does: all losses, one after the other; the first one keeps what was learned."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    for name, loss in LOSSES.items():
        state = trained(dataset, loss, folder, ranks=2)
        if rank == 0:
            torch.save(state, folder / f"{name}.pt")


@pytest.fixture(scope="module")
def learnt_by_two_ranks(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(one_rank, free_port(), dataset, folder)
    return folder


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_with_half_the_batch_learn_what_one_process_learns(dataset, learnt_by_two_ranks, tmp_path, name):
    whole = trained(dataset, LOSSES[name], tmp_path, ranks=1)
    halves = torch.load(learnt_by_two_ranks / f"{name}.pt", weights_only=True)
    for key, value in whole.items():
        torch.testing.assert_close(halves[key], value, rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
