"""Two gloo processes under DDP against one process with the whole batch: same losses, same gradients."""

from __future__ import annotations

import functools
import socket
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from reid_lightning.losses import CircleLoss, ContrastiveLoss, IDLoss, TripletLoss, WeightedSum, gather_across_ranks
from reid_lightning.models import ReIDOutput

RANKS = 2
LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])


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
        }
        self.loss = WeightedSum(terms, num_identities=3, embedding_dim=5)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features = self.features(images).tanh()
        return self.loss(ReIDOutput(features, self.neck(features)), labels)


def build() -> tuple[Tiny, Tensor]:
    torch.manual_seed(0)
    return Tiny().double(), torch.randn(len(LABELS), 6).double()


def run_rank(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    model, images = build()
    mine = slice(rank * len(images) // RANKS, (rank + 1) * len(images) // RANKS)
    gathered = gather_across_ranks(LABELS[mine])
    parallel = DistributedDataParallel(model)
    values = parallel(images[mine], LABELS[mine])
    values["total"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    values = {name: value.detach() for name, value in values.items()}
    torch.save({"values": values, "gradients": gradients, "labels": gathered}, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The server imports once for both ranks, and they start clean of this process's threads.
    multiprocessing.set_forkserver_preload(["reid_lightning.losses"])
    multiprocessing.start_processes(run_rank, (port, str(tmp_path)), nprocs=RANKS, start_method="forkserver")

    model, images = build()
    expected = model(images, LABELS)
    expected["total"].backward()
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]
    for rank in ranks:
        assert torch.equal(rank["labels"], LABELS)
        for name in ("contrastive", "circle", "triplet"):
            torch.testing.assert_close(rank["values"][name], expected[name], atol=1e-9, rtol=1e-9)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(rank["gradients"][name], parameter.grad, atol=1e-9, rtol=1e-9)
    mean_id = (ranks[0]["values"]["id"] + ranks[1]["values"]["id"]) / 2
    torch.testing.assert_close(mean_id, expected["id"], atol=1e-9, rtol=1e-9)


def test_a_single_process_gets_its_own_tensor_back() -> None:
    tensor = torch.randn(3, 2)
    assert gather_across_ranks(tensor) is tensor
