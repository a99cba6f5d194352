"""What small trainings in tests share: pictures of noise, batches of them, a quiet trainer, and a run with all that
`train.py` wires, which tests interrupt and resume."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import multiprocessing
from torch.nn import functional

from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.losses import CircleLoss, IDLoss, WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.training.callbacks import RetrievalMetrics
from reid_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from reid_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from reid_lightning.training.callbacks.preemption import Preemption
from reid_lightning.training.callbacks.weight_averaging import MovingAverage
from reid_lightning.training.checkpoints import AtomicCheckpointIO
from reid_lightning.training.datamodule import ReIDDataModule
from reid_lightning.training.epoch_log import ContinuedLog, CSVLog
from reid_lightning.training.module import ReIDModule
from reid_lightning.training.schedules import warmup_cosine

EPOCHS = 2
BATCHES = 6  # of an epoch
PATIENCE = 240  # seconds, until a process counts as hanging
PREPROCESSING = Preprocessing(32, 32)


def noise_pictures(folder: Path, *, identities: str = "abcdefgh", images_per_identity: int = 6) -> VehicleDataset:
    """Identities to train on, and four others, noise every picture."""
    generator = np.random.default_rng(0)

    def records(identities: str, per_identity: int) -> tuple[VehicleImage, ...]:
        images = []
        for identity in identities:
            for number in range(per_identity):
                path = folder / f"{identity}_{number}.png"
                Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
                images.append(VehicleImage(path, identity, f"c{number % 2}"))
        return tuple(images)

    train = records(identities, images_per_identity)
    return VehicleDataset("toy", train=train, query=records("xyz", 2), gallery=records("xyzw", 3))


def batches(dataset: VehicleDataset, identities: int, images_per_identity: int, *, num_workers=0) -> ReIDDataModule:
    """PK batches of so many identities and pictures of each."""
    return ReIDDataModule(
        dataset,
        PREPROCESSING,
        train_transform=TrainTransform(PREPROCESSING),
        identities_per_batch=identities,
        images_per_identity=images_per_identity,
        sampling="pk",
        eval_batch_size=8,
        num_workers=num_workers,
        cache_mib=None,
        seed=0,
    )


def quiet_trainer(folder: Path, **options) -> pl.Trainer:
    """One process on the CPU that shows, logs and saves nothing, unless asked."""
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return pl.Trainer(**defaults | options)


@dataclass(frozen=True)
class Finished:
    """What is left of a run that came to its end."""

    folder: Path
    weights: dict[str, torch.Tensor]

    @property
    def log(self) -> bytes:
        return (self.folder / "logs/metrics.csv").read_bytes()

    def state(self) -> dict:
        """All that the last checkpoint holds, with the run's folder taken out of it."""
        return _without(torch.load(self.folder / "checkpoints/last.ckpt", weights_only=True), str(self.folder))


def fit(folder, dataset, *callbacks, resume=None, workers=0, ema=False, every=2, accumulate=1, **options) -> Finished:
    """Train for EPOCHS epochs of BATCHES batches, with dropout in the network."""
    datamodule = batches(dataset, 4, 2, num_workers=workers)
    torch.manual_seed(0)
    model = ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=16)
    model.neck.register_forward_pre_hook(lambda neck, given: functional.dropout(given[0], 0.3, neck.training))
    terms = {
        "circle": {"weight": 1.0, "input": "embeddings", "loss": CircleLoss(margin=0.25, gamma=16.0)},
        "id": {"weight": 0.5, "input": "embeddings", "loss": partial(IDLoss, label_smoothing=0.1)},
    }
    loss = WeightedSum(terms, num_identities=datamodule.num_identities, embedding_dim=16)
    module = ReIDModule(
        model, loss, PREPROCESSING, optimizer=partial(torch.optim.AdamW, lr=0.01), scheduler=warmup_cosine
    )
    trainer = quiet_trainer(
        folder,
        max_epochs=EPOCHS,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=1,
        logger=CSVLog(folder / "logs"),
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            RetrievalMetrics(ranks=[1]),
            *([MovingAverage(decay=0.9)] if ema else []),
            *callbacks,
            BestCheckpoint(folder / "checkpoints", "best", "val/mAP", mode="max", enable_version_counter=False),
            ContinuedLog(),
            Preemption(),
            LastCheckpoint(folder / "checkpoints", every_n_steps=every),
        ],
        **options,
    )
    trainer.fit(module, datamodule, ckpt_path=resume, weights_only=True)
    return Finished(folder, dict(module.state_dict()))


class At(pl.Callback):
    """Calls `act` in the first call of `hook` from batch `batch` on (0, 1, ... over all epochs)."""

    def __init__(self, hook, batch, act):
        self.batch, self.act, self.done = batch, act, False
        setattr(self, hook, self._look)

    def _look(self, trainer, *_, **__):
        if trainer.fit_loop.total_batch_idx >= self.batch and not self.done:
            self.done = True
            self.act()


def child(function: Callable[[], object], **environment: object) -> multiprocessing.Process:
    """Start `function`, a function of a module, in a clean process with these environment variables. Its exit code is
    that of the SystemExit it raises, or 1 for any other exception.

    Not a fork of this process: after a compilation or a convolution on several threads its copy would crash or hang.
    """
    environment = {name: str(value) for name, value in environment.items()}
    given = (function, environment, torch.get_num_threads())  # another number of threads gives other bits
    process = multiprocessing.get_context("forkserver").Process(target=_with_environment, args=given)
    process.start()
    return process


def _with_environment(function: Callable[[], object], environment: dict[str, str], threads: int) -> None:
    torch.set_num_threads(threads)
    os.environ.update(environment)
    function()


def two_nodes(function: Callable[[], object]) -> list[multiprocessing.Process]:
    """Start `function` as torchrun does on two machines with one process each, here on one."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": "toy"}
    return [
        child(function, RANK=node, GROUP_RANK=node, LOCAL_RANK=0, LOCAL_WORLD_SIZE=1, **shared) for node in range(2)
    ]


def exit_codes(*processes: multiprocessing.Process) -> list[int]:
    """Of processes, when they have ended; the negative number of the signal that killed one: SIGKILL if it hung."""
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in processes]


def run_ranks(function: Callable[..., object], *arguments: object) -> None:
    """Call `function(rank, *arguments)` in two clean processes, and wait for them; none of them may hang."""
    ranks = multiprocessing.start_processes(function, arguments, nprocs=2, join=False, start_method="forkserver")
    deadline = time.monotonic() + PATIENCE
    while not ranks.join(timeout=1):
        if time.monotonic() > deadline:
            for process in ranks.processes:
                process.kill()
            raise TimeoutError(f"two ranks of {function.__name__} have not ended after {PATIENCE} seconds")


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_same_end(run: Finished, other: Finished) -> None:
    """Weights, optimiser, schedule, average, loops, sampler, the callbacks' memory and the log are equal to the bit."""
    assert_equal(run.state(), other.state())
    assert_equal(run.weights, other.weights)
    assert run.log == other.log


def assert_equal(first, second, where=""):
    """Equal in type and to the bit, at every depth."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_equal(*pair, f"{where}[{number}]")
    else:
        assert first == second, where


def _without(value, folder):
    if isinstance(value, str):
        return value.replace(folder, "")
    if isinstance(value, dict):
        return {_without(key, folder): _without(entry, folder) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without(entry, folder) for entry in value]
    return value
