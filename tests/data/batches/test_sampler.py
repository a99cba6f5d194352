"""What a PK batch may hold, checked over many shapes of data set by slow loops."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from reid_lightning.data.batches.sampler import KeyedBatchSampler, PKBatchSampler, RandomBatchSampler, mixed
from reid_lightning.errors import ReIDError


def uneven(case: int) -> tuple[list[str], list[str]]:
    """A shuffled data set of 13 to 40 identities with 1 to 30 pictures, each identity under 1 to 5 cameras."""
    draw = random.Random(case)
    pictures = []
    for identity in range(draw.randint(13, 40)):
        cameras = draw.sample("abcdefgh", draw.randint(1, 5))
        pictures += [(f"v{identity}", draw.choice(cameras)) for _ in range(draw.choice([1, 2, 3, 4, 5, 9, 30]))]
    draw.shuffle(pictures)
    return [identity for identity, _ in pictures], [camera for _, camera in pictures]


def most_batches(groups: list[int], drawn: int) -> int:
    """How many batches of `drawn` distinct identities a greedy, always taking the fullest identities, can fill."""
    left, batches = sorted(groups, reverse=True), 0
    while len(left) >= drawn and left[drawn - 1] > 0:
        left[:drawn] = [count - 1 for count in left[:drawn]]
        left.sort(reverse=True)
        batches += 1
    return batches


def blocks(batch: list[int], k: int) -> list[list[int]]:
    return [batch[start : start + k] for start in range(0, len(batch), k)]


@pytest.mark.parametrize("case", range(12))
@pytest.mark.parametrize(("p", "k", "world_size"), [(4, 4, 1), (2, 3, 3), (1, 2, 2), (13, 5, 1), (3, 1, 4)])
def test_every_batch_of_every_rank(case, p, k, world_size):
    identities, cameras = uneven(case)
    of_identity = {name: [i for i, other in enumerate(identities) if other == name] for name in identities}
    groups = [max(1, len(rows) // k) for rows in of_identity.values()]
    for epoch in (0, 7):
        ranks = []
        for rank in range(world_size):
            sampler = PKBatchSampler(
                identities,
                cameras,
                identities_per_batch=p,
                images_per_identity=k,
                seed=case,
                rank=rank,
                world_size=world_size,
            )
            sampler.set_epoch(epoch)
            batches = list(sampler)
            assert len(batches) == len(sampler) == most_batches(groups, p * world_size)
            ranks.append(batches)
        used: Counter[str] = Counter()
        seen: Counter[int] = Counter()
        for step in zip(*ranks, strict=True):
            in_step = []
            for batch in step:
                assert len(batch) == p * k
                for block in blocks(batch, k):
                    (identity,) = {identities[row] for row in block}
                    in_step.append(identity)
                    pictures = of_identity[identity]
                    times = Counter(block)
                    assert len(times) == min(k, len(pictures)), "distinct pictures come before repeated ones"
                    assert max(times.values()) == math.ceil(k / len(times)), "repeats are even"
                    seen.update(times.keys())
            assert len(set(in_step)) == p * world_size, "no identity twice in a step, on any rank"
            used.update(in_step)
        assert max(seen.values()) == 1, "no picture in two steps of an epoch"
        assert all(used[name] <= max(1, len(rows) // k) for name, rows in of_identity.items())


@pytest.mark.parametrize("case", range(12))
@pytest.mark.parametrize("k", [2, 4, 6])
def test_cameras_differ_as_far_as_they_can(case, k):
    """With G groups a camera with n pictures is at most ceil(n / G) times in any of them."""
    identities, cameras = uneven(case)
    count = Counter(zip(identities, cameras, strict=True))
    of_identity = Counter(identities)
    sampler = PKBatchSampler(identities, cameras, identities_per_batch=3, images_per_identity=k, seed=case)
    for batch in sampler:
        for block in blocks(batch, k):
            identity = identities[block[0]]
            groups = max(1, of_identity[identity] // k)
            per_camera = Counter(cameras[row] for row in set(block))
            for camera, times in per_camera.items():
                assert times <= math.ceil(count[identity, camera] / groups)
            available = {camera for name, camera in count if name == identity}
            if groups == 1:
                assert len(per_camera) == min(k, len(available)), "every camera before a second picture of one"
            everywhere = [camera for camera in available if count[identity, camera] >= groups]
            assert len(per_camera) >= min(k, len(everywhere))


def test_pictures_left_out_of_groups_change_with_the_epoch():
    identities, cameras = ["a"] * 7 + ["b"] * 7, list("1123123") * 2
    sampler = PKBatchSampler(identities, cameras, identities_per_batch=2, images_per_identity=4)
    seen = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        (batch,) = sampler
        assert all(len({cameras[row] for row in block}) == 3 for block in blocks(batch, 4))
        seen |= set(batch)
    assert seen == set(range(14))


def test_identities_left_out_of_an_epoch_change_and_frequent_ones_come_more_often():
    identities = [name for name in range(10) for _ in range(12 if name < 2 else 2)]
    sampler = PKBatchSampler(identities, None, identities_per_batch=4, images_per_identity=2)
    assert len(sampler) == 4  # the two large ones are at most once in a batch: 4 + 4 + 8 = 4 * 4
    small = [name for name in range(10) for _ in range(6 if name < 2 else 2)]  # 3 + 3 + 8 = 14 groups: 3 * 4 and 2 left
    sampler = PKBatchSampler(small, None, identities_per_batch=4, images_per_identity=2)
    drawn: Counter[int] = Counter()
    for epoch in range(40):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == 3
        drawn.update(small[block[0]] for batch in sampler for block in blocks(batch, 2))
    assert min(drawn[name] for name in range(2)) > 2 * max(drawn[name] for name in range(2, 10))
    assert min(drawn.values()) > 20


def test_without_cameras_an_identity_gets_all_its_pictures():
    identities = ["a"] * 8 + ["b"] * 8
    sampler = PKBatchSampler(identities, None, identities_per_batch=2, images_per_identity=4)
    assert sorted(row for batch in sampler for row in batch) == list(range(16))


def test_deterministic_in_seed_epoch_and_rank_and_nothing_else():
    identities, cameras = uneven(3)

    def draw(seed: int, epoch: int, rank: int = 0) -> list[list[int]]:
        sampler = PKBatchSampler(
            identities, cameras, identities_per_batch=4, images_per_identity=3, seed=seed, rank=rank, world_size=2
        )
        sampler.set_epoch(epoch)
        return list(sampler)

    first = draw(0, 0)
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert draw(0, 0) == first
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    others = [draw(0, 1), draw(1, 0), draw(0, 0, rank=1)]
    assert all(one != other for one, other in pairwise([first, *others]))
    sampler = PKBatchSampler(identities, cameras, identities_per_batch=4, images_per_identity=3, world_size=2)
    assert list(sampler) == list(sampler) == first, "iterating does not move on to the next epoch"


def test_an_epoch_is_resumed_by_skipping_its_first_batches():
    identities, cameras = uneven(5)
    sampler = PKBatchSampler(identities, cameras, identities_per_batch=3, images_per_identity=2)
    whole = list(sampler)
    iterator = iter(sampler)
    for _ in range(4):
        next(iterator)
    list(iter(sampler))  # another iteration in between
    assert list(iterator) == whole[4:]


def test_identities_meet_different_identities():
    """Drawing is not in blocks: within an epoch an identity meets most of the others."""
    identities = [name for name in range(30) for _ in range(80)]
    sampler = PKBatchSampler(identities, None, identities_per_batch=6, images_per_identity=4)
    met = {identities[row] for batch in sampler if any(identities[row] == 0 for row in batch) for row in batch}
    assert len(met) > 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"identities_per_batch": 5}, r"loader.identities_per_batch=5 needs 5 different identities.* show 4\. Set"),
        ({"identities_per_batch": 3, "world_size": 2}, "3 on each of 2 ranks needs 6 .* loader.identities_per_batch=2"),
        ({"identities_per_batch": 1, "world_size": 5}, "Use fewer ranks"),
        ({"identities_per_batch": 0}, "loader.identities_per_batch is 0; expected 1 or more"),
        ({"images_per_identity": 0}, "loader.images_per_identity is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"world_size": 0}, "world_size is 0"),
        ({"rank": 2, "world_size": 2}, "rank is 2; expected 0 to 1"),
        ({"cameras": ["1"]}, "1 cameras for 8 pictures"),
    ],
)
def test_bad_arguments_are_clear_errors(arguments, message):
    settings = {"cameras": None, "identities_per_batch": 2, "images_per_identity": 2} | arguments
    with pytest.raises(ReIDError, match=message):
        PKBatchSampler(list("aabbccdd"), settings.pop("cameras"), **settings)


def test_no_pictures_at_all_is_an_error():
    with pytest.raises(ReIDError, match="show 0"):
        PKBatchSampler([], None, identities_per_batch=2, images_per_identity=2)


@pytest.mark.parametrize("world_size", [1, 3])
def test_random_batches_cover_the_epoch_once_over_all_ranks(world_size):
    samplers = [
        RandomBatchSampler(50, batch_size=4, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    epochs = []
    for epoch in range(2):
        for sampler in samplers:
            sampler.set_epoch(epoch)
        batches = [list(sampler) for sampler in samplers]
        assert [len(one) for one in batches] == [len(samplers[0])] * world_size == [50 // (4 * world_size)] * world_size
        drawn = [picture for one in batches for batch in one for picture in batch]
        assert len(set(drawn)) == len(drawn) == len(samplers[0]) * 4 * world_size
        epochs.append(batches)
    assert epochs[0] != epochs[1]


def test_a_random_batch_larger_than_the_data_is_named():
    with pytest.raises(ReIDError, match="64 pictures"):
        RandomBatchSampler(50, batch_size=64)


def keyed(rank=0, world_size=1, seed=3, per_rank=4):
    identities, cameras = uneven(2)
    batches = PKBatchSampler(
        identities,
        cameras,
        identities_per_batch=per_rank,
        images_per_identity=2,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )
    return KeyedBatchSampler(batches, seed=seed, rank=rank)


def test_keys_add_to_the_batches_and_change_nothing_else():
    sampler = keyed()
    assert [[draw.position for draw in batch] for batch in sampler] == list(sampler._batches)
    assert len(sampler) == len(list(sampler))


def test_keys_are_distinct_within_a_run_and_those_of_a_repeated_run_equal():
    sampler, again, other = keyed(), keyed(), keyed(seed=4)
    keys = []
    for epoch in range(3):
        for one in (sampler, again, other):
            one.sampler.set_epoch(epoch)  # the way Lightning takes
        drawn = list(sampler)
        assert drawn == list(again) and drawn != list(other)
        keys += [draw.key for batch in drawn for draw in batch]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**64 for key in keys)


def test_two_ranks_draw_what_one_process_with_twice_the_batch_draws():
    halves = [keyed(rank, world_size=2, per_rank=2) for rank in range(2)]
    assert [first + second for first, second in zip(*halves, strict=True)] == list(keyed())


@pytest.mark.parametrize("step", [0, 1, 3])
def test_an_epoch_goes_on_at_any_step_and_the_next_one_begins_at_its_first(step):
    whole, resumed = keyed(), keyed()
    whole.set_epoch(5)
    resumed.resume_at(5, step)
    assert list(resumed) == list(whole)[step:]
    assert len(resumed) == len(whole)
    whole.set_epoch(6)
    resumed.set_epoch(6)
    assert list(resumed) == list(whole)


def test_a_finished_epoch_has_nothing_left():
    sampler = keyed()
    sampler.resume_at(0, len(sampler))
    assert list(sampler) == []


def test_mixed_depends_on_every_part_and_on_their_order():
    assert mixed(1, 2, 3) == mixed(1, 2, 3)
    values = [int(mixed(*parts)[0]) for parts in [(1, 2, 3), (3, 2, 1), (0, 2, 3), (1, 2), (1, 2, 3, 0)]]
    assert len(set(values)) == 5
    bits = np.unpackbits(mixed(0, 0, np.arange(4096)).view(np.uint8)).reshape(4096, 64)
    assert abs(bits.mean(axis=0) - 0.5).max() < 0.05
