"""A DataLoader that knows how far into its epoch it is, so that an interrupted run goes on with the very next batch."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader

from reid_lightning.data.batches.batch import Batch
from reid_lightning.data.batches.sampler import KeyedBatchSampler


class ResumableLoader(DataLoader[Batch]):
    """`DataLoader` over a `KeyedBatchSampler` whose state is the epoch and the batches handed over in it.

    Batches that workers have prepared ahead do not count: only what was handed over was trained on. The trainer saves
    and restores the state with its checkpoints.
    """

    batch_sampler: KeyedBatchSampler
    _place = (0, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch names the class of its own iterator
        epoch, done = self.batch_sampler.epoch, self.batch_sampler.start
        for batch in super().__iter__():
            done += 1
            self._place = (epoch, done)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the training stands."""
        return dict(zip(("epoch", "batches"), self._place, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._place = state["epoch"], state["batches"]
        self.batch_sampler.resume_at(*self._place)
