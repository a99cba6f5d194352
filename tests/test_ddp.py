"""Two processes with half the batch each learn what one process with the whole batch learns."""

import os
import socket
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import multiprocessing

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.transforms import Preprocessing, TrainTransform
from reid_lightning.losses import CircleLoss, ContrastiveLoss, IDLoss, TripletLoss, WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.module import ReIDModule

PREPROCESSING = Preprocessing(32, 32)
STEPS = 5
LOSSES = {
    "contrastive": ContrastiveLoss(margin=1.0),
    "circle": CircleLoss(margin=0.25, gamma=16.0),
    "triplet": TripletLoss(margin=0.3),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)

    def records(identities, per_identity):
        images = []
        for identity in identities:
            for number in range(per_identity):
                path = folder / f"{identity}_{number}.png"
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
                images.append(VehicleImage(path, identity, f"c{number % 2}"))
        return tuple(images)

    return VehicleDataset("toy", train=records("abcdefgh", 12), query=records("x", 1), gallery=records("xy", 2))


def trained(dataset, loss, folder, *, ranks):
    """The module after STEPS optimiser steps with 4 identities x 3 pictures over all ranks; layer norms only."""
    datamodule = ReIDDataModule(
        dataset,
        PREPROCESSING,
        train_transform=TrainTransform(PREPROCESSING),
        identities_per_batch=4 // ranks,
        images_per_identity=3,
        sampling="pk",
        eval_batch_size=4,
        num_workers=0,
        cache_mib=None,
        seed=0,
    )
    torch.manual_seed(0)
    model = ReIDModel("test_convnext", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16)
    terms = {
        "metric": {"weight": 1.0, "input": "embeddings", "loss": loss},
        "id": {"weight": 0.5, "input": "embeddings", "loss": partial(IDLoss, label_smoothing=0.1)},
    }
    weighted = WeightedSum(terms, num_identities=datamodule.num_identities, embedding_dim=16)
    module = ReIDModule(model, weighted, PREPROCESSING, optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        max_steps=STEPS,
        limit_val_batches=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trainer.fit(module, datamodule)
    moved = max(float((value - before[name]).abs().max()) for name, value in module.state_dict().items())
    assert moved > 1e-3  # it has learnt something at all
    return module.state_dict()


def one_rank(rank, port, dataset, folder):
    """What each of the two processes does: all losses, one after the other; the first one keeps what was learnt."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    for name, loss in LOSSES.items():
        state = trained(dataset, loss, folder, ranks=2)
        if rank == 0:
            torch.save(state, folder / f"{name}.pt")


@pytest.fixture(scope="module")
def learnt_by_two_ranks(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(one_rank, args=(port, dataset, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_with_half_the_batch_learn_what_one_process_learns(dataset, learnt_by_two_ranks, tmp_path, name):
    whole = trained(dataset, LOSSES[name], tmp_path, ranks=1)
    halves = torch.load(learnt_by_two_ranks / f"{name}.pt", weights_only=True)
    for key, value in whole.items():
        torch.testing.assert_close(halves[key], value, rtol=0, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}")
