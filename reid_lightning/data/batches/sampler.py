"""Batches of P identities with K pictures each, which losses over pairs need: a random batch holds hardly any pair.

Every batch is a pure function of (seed, epoch), so that ranks agree without talking and an epoch can be resumed; and so
is what augmentation does to each of its pictures, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from reid_lightning.data.batches.batch import Draw
from reid_lightning.errors import ReIDError


class PKBatchSampler(Sampler[list[int]]):
    """Yields lists of P*K positions in the data set, K in a row for each of P identities.

    An epoch. The pictures of each identity are dealt into groups of K in which cameras differ as far as they can; an
    identity with n >= K pictures has n // K groups, and the n % K pictures left over change from epoch to epoch. One
    with fewer is a single group that repeats its pictures as evenly as possible. Then every step draws
    world_size * P distinct identities, with a probability that grows with the groups they have left, until each
    group has been used once; groups that cannot fill a batch of distinct identities are left out, others each epoch.

    All ranks draw the same steps, and rank r takes the r-th P of the identities: ranks never share an identity
    within a step, and `len` is the same on each, in every epoch, and known beforehand. No global generator is read
    or changed.

    Args:
        identities: (n,) identity of each picture.
        cameras: (n,) camera of each picture, or None where cameras are unknown.
        identities_per_batch: P, on each rank.
        images_per_identity: K.
        seed: of everything that is drawn, with the epoch.
        rank: which of the `world_size` slices of each step this sampler yields.
        world_size: number of ranks.

    Raises:
        ReIDError: P * world_size exceeds the number of identities, or an argument is out of range.
    """

    def __init__(
        self,
        identities: Sequence[str | int],
        cameras: Sequence[str | int | None] | None,
        *,
        identities_per_batch: int,
        images_per_identity: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for name, value, least in (
            ("loader.identities_per_batch", identities_per_batch, 1),
            ("loader.images_per_identity", images_per_identity, 1),
            ("seed", seed, 0),
            ("world_size", world_size, 1),
        ):
            if value < least:
                raise ReIDError(f"{name} is {value}; expected {least} or more.")
        if not 0 <= rank < world_size:
            raise ReIDError(f"rank is {rank}; expected 0 to {world_size - 1} with world_size={world_size}.")
        if cameras is not None and len(cameras) != len(identities):
            raise ReIDError(f"{len(cameras)} cameras for {len(identities)} pictures; expected one each, or None.")
        self._identity = _numbered(identities)  # (n,) 0 .. number of identities - 1
        camera = np.zeros_like(self._identity) if cameras is None else _numbered(cameras)
        self._pair = _numbered(list(zip(self._identity.tolist(), camera.tolist(), strict=True)))  # (n,)
        self._per_identity = np.bincount(self._identity)
        self._drawn = identities_per_batch * world_size
        if self._drawn > len(self._per_identity):
            fits = len(self._per_identity) // world_size
            ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
            fix = f"Set loader.identities_per_batch={fits} or less" if fits else "Use fewer ranks or other pictures"
            raise ReIDError(
                f"loader.identities_per_batch={identities_per_batch}{ranks} needs {self._drawn} different identities, "
                f"but the training pictures show {len(self._per_identity)}. {fix}."
            )
        self._groups = np.maximum(self._per_identity // images_per_identity, 1)  # groups of each identity
        self._batches = _number_of_batches(self._groups, self._drawn)
        self._p, self._k = identities_per_batch, images_per_identity
        self._seed, self._rank, self._epoch = seed, rank, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; without this every epoch is epoch 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self._seed, self._epoch))
        groups, first = self._deal(generator)
        own = slice(self._rank * self._p, (self._rank + 1) * self._p)
        for picked in self._draw(generator):
            chosen = groups[first[picked[own]]]  # (P, K)
            first[picked] += 1
            yield chosen.ravel().tolist()

    def _deal(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Groups of this epoch, (number of groups, K) positions, and the row of each identity's first group.

        Like cards: an identity's pictures, sorted by camera, go round its groups one by one, so that no group gets
        two of a camera while another gets none. Within a group second pictures of a camera come last; the first K
        stay.
        """
        count = len(self._identity)
        shuffled = generator.random(count)
        camera_order = generator.random(self._pair.max() + 1)[self._pair]
        order = np.lexsort((shuffled, self._pair, camera_order, self._identity))
        first = np.cumsum(self._groups) - self._groups
        group = np.empty(count, dtype=np.int64)
        group[order] = first[self._identity[order]] + _position_in_run(self._identity[order]) % np.repeat(
            self._groups, self._per_identity
        )
        order = np.lexsort((shuffled, self._pair, group))
        repeated = np.empty(count, dtype=np.int64)  # how many pictures of this camera the group has before this one
        repeated[order] = _position_in_run(group[order] * (self._pair.max() + 1) + self._pair[order])
        order = np.lexsort((shuffled, repeated, group))
        sizes = np.bincount(group)
        starts = np.cumsum(sizes) - sizes
        columns = np.arange(self._k)[None, :] % np.minimum(sizes, self._k)[:, None]
        return order[starts[:, None] + columns], first

    def _draw(self, generator: np.random.Generator) -> Iterator[np.ndarray]:
        """For every step the (world_size * P,) different identities, in random order.

        Before, the groups are cut to exactly those that the steps hold. Then an identity with as many groups left as
        there are steps left must be drawn, and there is always room for all of these.
        """
        left = np.minimum(self._groups, self._batches)
        surplus = int(left.sum()) - self._batches * self._drawn
        dropped = generator.permutation(np.repeat(np.arange(len(left)), left))[:surplus]
        left = left - np.bincount(dropped, minlength=len(left))
        alive = np.arange(len(left))
        for steps in range(self._batches, 0, -1):
            if steps % 32 == 0:  # only to be fast with many identities of few pictures
                alive = np.flatnonzero(left)
            with np.errstate(divide="ignore"):  # a rate of `left`: without a group left, infinitely late
                arrival = generator.standard_exponential(len(alive)) / left[alive]
            arrival[left[alive] == steps] = -1.0
            picked = alive[np.argpartition(arrival, self._drawn - 1)[: self._drawn]]
            left[picked] -= 1
            yield generator.permutation(picked)


class RandomBatchSampler(Sampler[list[int]]):
    """Plain shuffling, to compare with PK: every picture once an epoch, the incomplete last batch left out.

    A pure function of (seed, epoch) as well: all ranks shuffle alike and take their slice of each global batch.

    Args:
        pictures: number of pictures.
        batch_size: on each rank.
        seed, rank, world_size: as in `PKBatchSampler`.

    Raises:
        ReIDError: a global batch is larger than the number of pictures.
    """

    def __init__(self, pictures: int, *, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or pictures < batch_size * world_size:
            raise ReIDError(
                f"a batch of {batch_size} pictures on each of {world_size} ranks needs more than {pictures} pictures. "
                "Set loader.identities_per_batch or loader.images_per_identity lower (their product is the batch)."
            )
        self._pictures, self._batch_size = pictures, batch_size
        self._seed, self._rank, self._world_size, self._epoch = seed, rank, world_size, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._pictures // (self._batch_size * self._world_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._pictures)
        for step in range(len(self)):
            start = (step * self._world_size + self._rank) * self._batch_size
            yield order[start : start + self._batch_size].tolist()


class KeyedBatchSampler(Sampler[list[Draw]]):
    """The batches of another sampler, with a key for each picture, from any step of an epoch on.

    A key is a pure function of (seed, epoch, place in the global batches), so a picture is augmented alike in one
    process and in several, with and without workers, and in a run that was interrupted.

    Args:
        batches: a sampler above, for this rank.
        seed: as given to it.
        rank: which slice of each global batch `batches` yields.
    """

    def __init__(self, batches: PKBatchSampler | RandomBatchSampler, *, seed: int, rank: int = 0) -> None:
        self._batches = batches
        self._seed, self._rank = seed, rank
        self._epoch = 0
        self._start = (0, 0)

    @property
    def sampler(self) -> KeyedBatchSampler:
        """Itself: Lightning calls `set_epoch` on a batch sampler's `sampler`."""
        return self

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return self._epoch

    @property
    def start(self) -> int:
        """The step that the next iteration begins with."""
        return self._start[1] if self._epoch == self._start[0] else 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch
        self._batches.set_epoch(epoch)

    def resume_at(self, epoch: int, step: int) -> None:
        """Go on at `step` of `epoch`; other epochs begin at their first step."""
        self._start = (epoch, step)
        self.set_epoch(epoch)

    def __len__(self) -> int:
        """Steps of a whole epoch, wherever the iteration begins."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, start = self._epoch, self.start
        for step, positions in enumerate(self._batches):
            if step >= start:
                slots = np.arange(len(positions)) + self._rank * len(positions)
                keys = mixed(self._seed, epoch, step, slots)
                yield [Draw(*pair) for pair in zip(positions, keys.tolist(), strict=True)]


def mixed(*parts: int | np.ndarray) -> np.ndarray:
    """64 bits from whole numbers, uint64, of the broadcast shape: equal parts give equal bits, others unrelated ones.

    Each part is added and stirred by the finaliser of SplitMix64. Source: Steele et al., "Fast Splittable Pseudorandom
    Number Generators", OOPSLA 2014.
    """
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = state + np.asarray(part).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def _number_of_batches(groups: np.ndarray, drawn: int) -> int:
    """The most batches of `drawn` distinct identities that can be filled: the largest b with
    sum(min(groups, b)) >= b * drawn, because an identity is at most once in each."""
    low, high = 1, int(groups.sum()) // drawn
    while low < high:
        middle = (low + high + 1) // 2
        if np.minimum(groups, middle).sum() >= middle * drawn:
            low = middle
        else:
            high = middle - 1
    return low


def _numbered(values: Sequence[object]) -> np.ndarray:
    """Values as numbers from 0 in order of appearance, int64 of the same length."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _position_in_run(values: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... counted from 0 again wherever sorted-together `values` change."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))
