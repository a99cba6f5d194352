"""What a loader hands over: one shape for training and validation, and how a training picture is asked for."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from reid_lightning.data.records import NAMES

TARGETS = tuple(name for name in NAMES if name != "track")
"""What a network can learn of a picture."""


class Batch(NamedTuple):
    """B pictures with what is known of each.

    From the loader `images` are uint8 (B, height, width, 3): workers ship a quarter of the bytes of normalised
    pictures, and turning the dimensions gives channels-last memory at no cost. On the device they become float32
    (B, 3, height, width), normalised.
    """

    images: Tensor
    rows: Tensor
    """(B,) int64, position in the training pictures; in validation, in query + gallery."""
    targets: dict[str, Tensor]
    """By each of `TARGETS` (B,) int64, position among the sorted names of the training pictures; -1: unknown, not in
    training, or nothing that validation asks for."""

    @property
    def labels(self) -> Tensor:
        """(B,) identities."""
        return self.targets["identity"]

    @property
    def cameras(self) -> Tensor:
        """(B,) cameras."""
        return self.targets["camera"]

    @property
    def viewpoints(self) -> Tensor:
        """(B,) viewpoints."""
        return self.targets["viewpoint"]


class Draw(NamedTuple):
    """One training picture as the sampler asks for it."""

    position: int
    key: int
    """Seed of everything random that happens to the picture this time, 64 bits."""
