"""What holds of batches for every shape of data set, batch, rank and epoch that hypothesis draws."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import drawn

from reid_lightning.data.batches.sampler import KeyedBatchSampler, PKBatchSampler, RandomBatchSampler, mixed
from reid_lightning.errors import ReIDError

PICTURES = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([None, "c1", "c2", "c3"])), min_size=1, max_size=50)
SMALL = st.integers(1, 4)


def sampler(pictures: list[tuple[int, str | None]], **arguments: int) -> PKBatchSampler:
    return PKBatchSampler([identity for identity, _ in pictures], [camera for _, camera in pictures], **arguments)


@drawn(80)
@given(pictures=PICTURES, p=SMALL, k=SMALL, world=st.integers(1, 3), seed=st.integers(0, 2**40), epoch=SMALL)
def test_pk_batches(pictures: list, p: int, k: int, world: int, seed: int, epoch: int) -> None:
    given_ = {"identities_per_batch": p, "images_per_identity": k, "seed": seed}
    count = Counter(identity for identity, _ in pictures)
    if p * world > len(count):
        with pytest.raises(ReIDError, match=r"loader\.identities_per_batch"):
            sampler(pictures, **given_, world_size=world)
        return
    ranks = []
    for rank in range(world):
        one = sampler(pictures, **given_, rank=rank, world_size=world)
        one.set_epoch(epoch)
        batches = list(one)
        assert list(one) == batches and len(batches) == len(one) >= 1
        ranks.append(batches)
    assert len({len(batches) for batches in ranks}) == 1
    for step in zip(*ranks, strict=True):
        groups = [batch[start : start + k] for batch in step for start in range(0, p * k, k)]
        identities = [{pictures[row][0] for row in group} for group in groups]
        assert all(len(found) == 1 for found in identities)
        assert len(set(chain.from_iterable(identities))) == p * world
        for group, (identity,) in zip(groups, map(tuple, identities), strict=True):
            assert max(Counter(group).values()) == -(-k // min(count[identity], k))
    used = Counter(row for batches in ranks for batch in batches for row in batch)
    assert all(times == 1 for row, times in used.items() if count[pictures[row][0]] >= k)
    whole = sampler(pictures, **{**given_, "identities_per_batch": p * world})
    whole.set_epoch(epoch)
    assert [list(chain.from_iterable(step)) for step in zip(*ranks, strict=True)] == list(whole)


@drawn(100)
@given(pictures=st.integers(1, 60), size=SMALL, world=st.integers(1, 3), seed=st.integers(0, 99), epoch=SMALL)
def test_shuffled_batches(pictures: int, size: int, world: int, seed: int, epoch: int) -> None:
    if pictures < size * world:
        with pytest.raises(ReIDError, match="pictures"):
            RandomBatchSampler(pictures, batch_size=size, world_size=world)
        return
    rows = []
    for rank in range(world):
        one = RandomBatchSampler(pictures, batch_size=size, seed=seed, rank=rank, world_size=world)
        one.set_epoch(epoch)
        batches = list(one)
        assert len(batches) == len(one) == pictures // (size * world)
        assert all(len(batch) == size for batch in batches)
        rows += chain.from_iterable(batches)
    assert len(set(rows)) == len(rows) and set(rows) <= set(range(pictures))


@drawn(80)
@given(pictures=st.integers(4, 40), seed=st.integers(0, 99), epoch=SMALL, step=st.integers(0, 12))
def test_an_epoch_goes_on_where_it_was_left(pictures: int, seed: int, epoch: int, step: int) -> None:
    def fresh() -> KeyedBatchSampler:
        return KeyedBatchSampler(RandomBatchSampler(pictures, batch_size=3, seed=seed), seed=seed)

    whole, resumed = fresh(), fresh()
    whole.set_epoch(epoch)
    resumed.resume_at(epoch, step)
    batches = list(whole)
    assert list(resumed) == batches[step:]
    keys = [draw.key for batch in batches for draw in batch]
    assert len(set(keys)) == len(keys)
    resumed.set_epoch(epoch + 1)
    whole.set_epoch(epoch + 1)
    assert list(resumed) == list(whole)


@drawn(200)
@given(
    first=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
    second=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4),
)
def test_keys_are_equal_for_equal_parts_alone(first: list[int], second: list[int]) -> None:
    assert (mixed(*first) == mixed(*second)).all() == (first == second)
