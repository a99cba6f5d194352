"""Who trains in benchmarks/step.py: a bare torch loop, ours, and fast-reid; each behind a gate.

The bare loop is our network, loss and optimiser with nothing around them; ours is the module, trainer, progress bar and
loggers that train.py composes; fast-reid's is its SBS network in its own trainer.
"""

from __future__ import annotations

import collections
import collections.abc
import itertools
import sys
import tempfile
import time
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from gate import Gate
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning_fabric.utilities import move_data_to_device
from omegaconf import DictConfig
from torch.utils.data._utils.pin_memory import pin_memory

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.entry_point import build, read_dataset
from reid_lightning.commands.parts import use_fast_convolutions
from reid_lightning.data.batches.batch import TARGETS, Batch
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.training.acceleration import compile_in_place, set_matmul_precision
from reid_lightning.training.parameter_groups import build_optimizer

PER_IDENTITY, IDENTITIES = 4, 576  # pictures of one vehicle in a batch; VeRi-776's training vehicles
RIVALS_RECIPE = "configs/VeRi/sbs_R50-ibn.yml"


@dataclass(frozen=True)
class Step:
    """What is trained: a ResNet-IBN-a of `depth` on `batch` pictures of `side` pixels, `steps` at a time."""

    depth: int
    side: int
    batch: int
    steps: int
    on_gpu: bool
    overrides: tuple[str, ...] = ()
    veri: str = ""

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return torch.device("cuda" if self.on_gpu else "cpu")


def bare(step: Step) -> Gate:
    """Ours without the framework: forward, loss, backward, optimiser, schedule; the same mixed precision on a GPU."""
    parts = Parts.of(step)
    module, device = parts.module.to(step.device), step.device
    optimizer = build_optimizer(build(parts.cfg, "optimizer"), module)
    scheduler = build(parts.cfg, "scheduler")(optimizer, total_steps=1_000_000)
    gate = Gate(itertools.repeat(prepared_batch(step)))
    finish = parts.datamodule.train_transform.finish

    def train() -> None:
        module.train()
        for key, batch in enumerate(gate):
            batch = move_data_to_device(batch, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=step.on_gpu):
                output = module.model(finish(batch.images, key=key), batch.cameras, batch.viewpoints)
                loss = module.loss(output, batch.labels)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()

    gate.start(train)
    return gate


def ours(step: Step, *, loaded: bool = False) -> Gate:
    """Trainer, module, data module, progress bar and loggers as train.py makes them; `loaded`: and its loader."""
    parts = Parts.of(step)
    parts.cfg.trainer.max_epochs = 1
    trainer = build(parts.cfg, "trainer")(
        callbacks=[instantiate(parts.cfg.callbacks.progress_bar)],
        logger=list(instantiate(parts.cfg.logger).values()),
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    batches: Iterable[Batch] = itertools.repeat(prepared_batch(step))
    if loaded:
        parts.datamodule.trainer = trainer
        batches = endless(parts.datamodule.train_dataloader())
    gate = Gate(batches)
    parts.datamodule.train_dataloader = lambda: gate
    gate.start(lambda: trainer.fit(parts.module, parts.datamodule))
    return gate


def fastreid(step: Step, *, clone: str) -> Gate:
    """Its SBS recipe for VeRi: network, heads, losses, optimiser, trainer; the pictures are on the device already."""
    make_importable(clone)
    from fastreid.config import get_cfg
    from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer
    from fastreid.modeling import build_model
    from fastreid.solver import build_optimizer as their_optimizer
    from fastreid.utils.events import EventStorage

    cfg = get_cfg()
    cfg.merge_from_file(f"{clone}/{RIVALS_RECIPE}")
    cfg.MODEL.BACKBONE.DEPTH = f"{step.depth}x"
    cfg.MODEL.BACKBONE.FEAT_DIM = 512 if step.depth < 50 else 2048
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = IDENTITIES
    cfg.MODEL.DEVICE = step.device.type
    cfg.SOLVER.FREEZE_ITERS = 0
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    torch.manual_seed(0)
    model = build_model(cfg)
    optimizer, wrapper = their_optimizer(cfg, model)
    batch = prepared_batch(step)
    images = batch.images.permute(0, 3, 1, 2).float().contiguous().to(step.device)
    labels = batch.labels.to(step.device)
    inputs = ({"images": images.clone(), "targets": labels} for _ in itertools.count())  # it normalises them in place
    gate = Gate(inputs)

    def train() -> None:
        trainer = (AMPTrainer if step.on_gpu else SimpleTrainer)(model, gate, optimizer, wrapper)
        with EventStorage(0) as trainer.storage:
            while True:
                trainer.run_step()
                trainer.storage.step()

    gate.start(train)
    return gate


def run(gate: Gate, *, step: Step) -> Mapping[str, float]:
    """Some steps; on a GPU with their wall time."""
    if step.on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    gate.open(step.steps)
    if step.on_gpu:
        torch.cuda.synchronize()
    return {"images/s": step.steps * step.batch / (time.perf_counter() - started)}


def make_importable(clone: str) -> None:
    """Names of Python 3.9, and faiss, which only its re-ranking calls."""
    for name in ("Mapping", "MutableMapping", "Sequence", "Iterable"):
        setattr(collections, name, getattr(collections.abc, name))
    faiss = types.ModuleType("faiss")
    faiss.__getattr__ = lambda name: None
    sys.modules.setdefault("faiss", faiss)
    sys.path.insert(0, clone)


@dataclass(frozen=True)
class Parts:
    """What train.py builds before it trains."""

    cfg: DictConfig
    module: Any
    datamodule: Any

    @classmethod
    def of(cls, step: Step) -> Parts:
        """From the project's configuration, on made-up pictures or on those of `step.veri`."""
        choices = [
            f"model=resnet{step.depth}_ibn_a",
            f"trainer={'gpu' if step.on_gpu else 'cpu'}",
            f"data={f'veri776 data.root={step.veri}' if step.veri else 'synthetic'}",
            f"input.height={step.side}",
            f"input.width={step.side}",
            f"loader.identities_per_batch={step.batch // PER_IDENTITY}",
            f"loader.images_per_identity={PER_IDENTITY}",
            "loss=sbs",
            *step.overrides,
        ]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("train", overrides=[word for choice in choices for word in choice.split()])
        cfg.run_dir = tempfile.mkdtemp()
        torch.manual_seed(0)
        preprocessing = instantiate(cfg.input)
        model = use_fast_convolutions(instantiate(cfg.model))
        set_matmul_precision(cfg.float32_matmul_precision, device=step.device)
        compile_in_place(model, cfg.compile, device=step.device)
        dataset = read_dataset(cfg) if step.veri else made_up_pictures()
        datamodule = build(cfg, "loader")(
            dataset, preprocessing, train_transform=build(cfg, "transforms")(preprocessing)
        )
        loss = instantiate(cfg.loss, classes=datamodule.classes, embedding_dim=model.embedding_dim)
        options = {name: build(cfg, name) for name in ("optimizer", "scheduler")}
        return cls(cfg, build(cfg, "module")(model, loss, preprocessing, **options), datamodule)


def made_up_pictures() -> VehicleDataset:
    """Names of VeRi's number of vehicles; nobody looks at the pictures."""
    images = tuple(
        VehicleImage(Path(f"{identity}_{number}.jpg"), f"{identity:04d}", f"c{number}")
        for identity in range(IDENTITIES)
        for number in range(PER_IDENTITY)
    )
    return VehicleDataset("made up", train=images, query=images[:1], gallery=images[1:3])


def prepared_batch(step: Step) -> Batch:
    """Random pictures as the loader hands them over."""
    generator = torch.Generator().manual_seed(0)
    shape = (step.batch, step.side, step.side, 3)
    rows = torch.arange(step.batch)
    batch = Batch(
        images=torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        rows=rows,
        targets=dict.fromkeys(TARGETS, torch.full_like(rows, -1))
        | {"identity": rows // PER_IDENTITY, "camera": rows % PER_IDENTITY},
    )
    return pin_memory(batch) if step.on_gpu else batch


def endless(loader: Iterable[Batch]) -> Iterable[Batch]:
    """Epoch after epoch."""
    while True:
        yield from loader
