"""What a loader hands over: one shape for training and validation, and how a training picture is asked for."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B pictures with what is known of each.

    From the loader `images` are uint8 (B, height, width, 3): workers ship a quarter of the bytes of normalised
    pictures, and turning the dimensions gives channels-last memory at no cost. On the device they become float32
    (B, 3, height, width), normalised.
    """

    images: Tensor
    labels: Tensor
    """(B,) int64, position among the training identities; -1 in validation."""
    rows: Tensor
    """(B,) int64, position in the training pictures; in validation, in query + gallery."""
    cameras: Tensor
    """(B,) int64, position among the training cameras; -1: unknown, or not in training."""
    viewpoints: Tensor
    """(B,) int64, position among the training viewpoints; -1 likewise."""


class Draw(NamedTuple):
    """One training picture as the sampler asks for it."""

    position: int
    key: int
    """Seed of everything random that happens to the picture this time, 64 bits."""
