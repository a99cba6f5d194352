"""Two gloo processes under DDP against one process with the whole batch: same losses, same gradients."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from toy_run import free_port, run_ranks

from reid_lightning.losses import (
    ArcFaceLoss,
    CenterLoss,
    CircleLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    IDLoss,
    MultiSimilarityLoss,
    SupConLoss,
    TripletLoss,
    WeightedSum,
    gather_across_ranks,
)
from reid_lightning.models import ReIDOutput

RANKS = 2
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])
LOCAL = ("id", "arcface")
"""Terms that each rank computes over its own pictures alone."""


class Tiny(nn.Module):
    """A network and its loss in one module, as Lightning wraps them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(6, 5)
        self.neck = nn.Linear(5, 5, bias=False)
        terms = {
            "id": {"weight": 1.0, "input": "embeddings", "loss": functools.partial(IDLoss, label_smoothing=0.1)},
            "contrastive": {"weight": 2.0, "input": "embeddings", "loss": ContrastiveLoss(margin=1.0)},
            "circle": {"weight": 0.1, "input": "embeddings", "loss": CircleLoss(margin=0.25, gamma=16.0)},
            "triplet": {"weight": 0.5, "input": "features", "loss": TripletLoss(margin=None)},
            "supcon": {"weight": 0.1, "input": "embeddings", "loss": SupConLoss(temperature=0.1)},
            "similarity": {
                "weight": 1.0,
                "input": "embeddings",
                "loss": MultiSimilarityLoss(alpha=2.0, beta=10.0, base=0.5, epsilon=0.1),
            },
            "arcface": {
                "weight": 0.2,
                "input": "features",
                "loss": functools.partial(ArcFaceLoss, margin=0.5, scale=8.0, label_smoothing=0.1),
            },
            "center": {"weight": 0.1, "input": "features", "loss": functools.partial(CenterLoss, rate=0.5)},
            "memory": {
                "weight": 0.5,
                "input": "embeddings",
                "loss": functools.partial(CrossBatchMemory, ContrastiveLoss(margin=1.0), size=13, warm_up=0),
            },
        }
        self.loss = WeightedSum(terms, num_identities=3, embedding_dim=5)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features = self.features(images).tanh()
        return self.loss(ReIDOutput(features, self.neck(features)), labels)


def build() -> tuple[Tiny, list[Tensor]]:
    torch.manual_seed(0)
    return Tiny().double(), [torch.randn(len(LABELS), 6).double() for _ in range(2)]


def run(model: nn.Module, tiny: Tiny, batches: list[Tensor], labels: Tensor) -> dict[str, object]:
    """Values of the last batch, and the gradients of all: the last one meets the first one in the memory."""
    for images in batches:
        values = model(images, labels)
        values["total"].backward()
    return {
        "values": {name: value.detach() for name, value in values.items()},
        "gradients": {name: parameter.grad for name, parameter in tiny.named_parameters()},
        "buffers": dict(tiny.named_buffers()),
    }


def run_rank(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    model, batches = build()
    mine = slice(rank * len(LABELS) // RANKS, (rank + 1) * len(LABELS) // RANKS)
    gathered = gather_across_ranks(LABELS[mine])
    # Losses with a memory keep it alike on all ranks by themselves.
    parallel = DistributedDataParallel(model, broadcast_buffers=False)
    result = run(parallel, model, [images[mine] for images in batches], LABELS[mine])
    torch.save(result | {"labels": gathered}, Path(folder) / f"{rank}.pt")
    del parallel  # before the group: as its last owner it would destroy it holding the GIL, which gloo's threads need
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_ranks(run_rank, free_port(), str(tmp_path))

    model, batches = build()
    expected = run(model, model, batches, LABELS)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    same = functools.partial(torch.testing.assert_close, atol=1e-9, rtol=1e-9)
    for rank in ranks:
        assert torch.equal(rank["labels"], LABELS)
        for name in expected["values"].keys() - {*LOCAL, "total"}:
            same(rank["values"][name], expected["values"][name])
        for kind in ("gradients", "buffers"):
            for name, tensor in expected[kind].items():
                same(rank[kind][name], tensor, msg=lambda text, name=name: f"{name}: {text}")
    for name in (*LOCAL, "total"):
        same((ranks[0]["values"][name] + ranks[1]["values"][name]) / 2, expected["values"][name])
    assert len(expected["buffers"]) == 4 and all(tensor.any() for tensor in expected["buffers"].values())


def test_a_single_process_gets_its_own_tensor_back() -> None:
    tensor = torch.randn(3, 2)
    assert gather_across_ranks(tensor) is tensor
