"""The cross-batch memory against a plain list of what was seen, and what a checkpoint must carry of it."""

from __future__ import annotations

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.losses import (
    CircleLoss,
    ContrastiveLoss,
    CrossBatchMemory,
    IDLoss,
    Memory,
    MultiSimilarityLoss,
    PairLoss,
    SupConLoss,
    TripletLoss,
)

PAIR_LOSSES = {
    "circle": CircleLoss(margin=0.25, gamma=16.0),
    "contrastive": ContrastiveLoss(margin=1.0),
    "multi_similarity": MultiSimilarityLoss(alpha=2.0, beta=10.0, base=0.5, epsilon=0.1),
    "supcon": SupConLoss(temperature=0.2),
    "triplet": TripletLoss(margin=0.3),
    "triplet_soft": TripletLoss(margin=None, normalize=False),
}


def batches(number: int, *, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 5, generator=generator), torch.randint(0, 4, (size,), generator=generator))
        for _ in range(number)
    ]


def remembering(loss: PairLoss, *, size: int = 11, warm_up: int = 0) -> CrossBatchMemory:
    return CrossBatchMemory(loss, size=size, warm_up=warm_up, embedding_dim=5)


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize("warm_up", [0, 9])
def test_equals_a_list_of_the_last_pictures(name: str, warm_up: int) -> None:
    # 11 places hold the batch of 4 and the 7 pictures before it, also where the ring of places wraps around.
    loss, rows_seen, labels_seen = PAIR_LOSSES[name], torch.empty(0, 5), torch.empty(0, dtype=torch.long)
    memory = remembering(loss, warm_up=warm_up)
    for embeddings, labels in batches(7):
        candidates = Memory(rows_seen[-7:], labels_seen[-7:]) if len(rows_seen) >= warm_up and len(rows_seen) else None
        expected_rows, rows = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
        expected, value = loss(expected_rows, labels, candidates), memory(rows, labels)
        torch.testing.assert_close(value, expected)
        expected.backward()
        value.backward()
        torch.testing.assert_close(rows.grad, expected_rows.grad)
        rows_seen, labels_seen = torch.cat((rows_seen, embeddings)), torch.cat((labels_seen, labels))


def test_the_only_positive_and_the_only_negative_may_be_remembered() -> None:
    memory = remembering(TripletLoss(margin=0.3, normalize=False))
    memory(torch.tensor([[0.0, 0, 0, 0, 0], [9.0, 0, 0, 0, 0]]), torch.tensor([0, 1]))
    # One picture of vehicle 0 at 4: its positive is at 4, its negative at 5; 4 - 5 + 0.3 is below 0.
    one = torch.tensor([[4.0, 0, 0, 0, 0]])
    assert memory(one, torch.tensor([0])).item() == 0.0
    # One at 6: farthest positive at 6, negative at 3; 6 - 3 + 0.3.
    assert memory(one * 1.5, torch.tensor([0])).item() == pytest.approx(3.3)


def test_a_resumed_run_goes_on_with_the_same_numbers() -> None:
    memory, steps = remembering(CircleLoss(margin=0.25, gamma=64.0)), batches(6)
    for embeddings, labels in steps[:4]:
        memory(embeddings, labels)
    resumed = remembering(CircleLoss(margin=0.25, gamma=64.0))
    resumed.load_state_dict({name: value.clone() for name, value in memory.state_dict().items()})
    for embeddings, labels in steps[4:]:
        assert torch.equal(memory(embeddings, labels), resumed(embeddings, labels))


def test_evaluation_remembers_nothing() -> None:
    memory, (first, second) = remembering(TripletLoss(margin=0.3)), batches(2)
    memory(*first)
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    memory.eval()(*second)
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


def test_a_picture_that_is_not_finite_is_not_remembered() -> None:
    (rows, labels), following = batches(2)
    clean, damaged = remembering(CircleLoss(margin=0.25, gamma=16.0)), remembering(CircleLoss(margin=0.25, gamma=16.0))
    clean(rows[:3], labels[:3])
    damaged(torch.cat((rows[:3], torch.full((1, 5), float("nan")))), labels)
    value = damaged(*following)
    assert torch.isfinite(value)
    torch.testing.assert_close(value, clean(*following))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_under_autocast_and_from_half_precision(dtype: torch.dtype) -> None:
    for name, loss in PAIR_LOSSES.items():
        half, full = remembering(loss), remembering(loss)
        for embeddings, labels in batches(3):
            embeddings = embeddings.to(dtype).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = half(embeddings, labels)
            assert value.dtype == torch.float32, name
            assert torch.equal(value, full(embeddings.float(), labels)), name
            value.backward()
            assert torch.isfinite(embeddings.grad).all(), name


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_zero_vectors_in_batch_and_memory_give_finite_gradients(name: str) -> None:
    memory = remembering(PAIR_LOSSES[name])
    for _ in range(2):
        rows = torch.zeros(4, 5, requires_grad=True)
        value = memory(rows, torch.tensor([0, 0, 1, 1]))
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(rows.grad).all()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ReIDError, match="cannot hold a IDLoss; expected a loss that compares pictures"):
        remembering(IDLoss(label_smoothing=0.1, num_identities=2, embedding_dim=5))
    with pytest.raises(ReIDError, match="cannot hold a CrossBatchMemory"):
        remembering(remembering(TripletLoss(margin=0.3)))
    with pytest.raises(ReIDError, match="size=0, warm_up=0"):
        remembering(TripletLoss(margin=0.3), size=0)
    with pytest.raises(ReIDError, match="size=3 is less than the 4 pictures of a batch"):
        remembering(TripletLoss(margin=0.3), size=3)(*batches(1)[0])
