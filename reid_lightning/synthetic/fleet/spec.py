"""What a drawn fleet is made of: its counts, its seed and the parameters its cache key hashes.

One frozen record, so that the folder's name says exactly which pictures are in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from reid_lightning.errors import ReIDError

GENERATOR_VERSION = 2
"""Raise it with every change that alters a byte of the output: old caches are then left alone."""


@dataclass(frozen=True)
class FleetSpec:
    """Counts and seed of one drawn fleet; pictures and pairs are those of VeRi-776's terms.

    A pair is an (identity, camera) with at least one picture. Every test pair gives one query, so `queries` is also
    the number of test pairs; `test_tracks - queries` pairs are passed a second time. `long_side` is the range of the
    longer side of a picture in pixels.
    """

    size: str
    seed: int
    train_identities: int
    test_identities: int
    cameras: int
    train_images: int
    train_pairs: int
    test_images: int
    test_tracks: int
    queries: int
    long_side: tuple[int, int]

    def __post_init__(self) -> None:
        """Reject counts that no plan can meet.

        Raises:
            ReIDError: the counts contradict each other.
        """
        if not 2 <= self.cameras <= 999:
            raise ReIDError(f"FleetSpec.cameras is {self.cameras}; expected 2 to 999.")
        if self.seed < 0:
            raise ReIDError(f"FleetSpec.seed is {self.seed}; expected 0 or more.")
        total = self.train_identities + self.test_identities
        if not (self.train_identities >= 1 and self.test_identities >= 1 and total <= 9999):
            raise ReIDError(f"FleetSpec has {total} identities; expected at least one a split and at most 9999 in all.")
        for name, pairs, identities in (
            ("train_pairs", self.train_pairs, self.train_identities),
            ("queries", self.queries, self.test_identities),
        ):
            if not 2 * identities <= pairs <= identities * self.cameras:
                raise ReIDError(
                    f"FleetSpec.{name} is {pairs}; {identities} identities at {self.cameras} cameras allow "
                    f"{2 * identities} to {identities * self.cameras} (each identity passes at least two cameras)."
                )
        if not self.queries <= self.test_tracks <= 2 * self.queries:
            raise ReIDError(
                f"FleetSpec.test_tracks is {self.test_tracks}; expected {self.queries} to {2 * self.queries}."
            )
        if self.train_images < 2 * self.train_pairs or self.test_images < 2 * self.test_tracks:
            raise ReIDError("FleetSpec has too few pictures: every pass of a camera leaves at least two.")

    @property
    def folder_name(self) -> str:
        """`<size>-seed<seed>-<8 hex digits>`; the digits hash every parameter and the generator's version."""
        parameters = json.dumps({"version": GENERATOR_VERSION, **dataclasses.asdict(self)}, sort_keys=True)
        return f"{self.size}-seed{self.seed}-{hashlib.sha256(parameters.encode()).hexdigest()[:8]}"


def fleet_spec(size: str, *, seed: int = 0) -> FleetSpec:
    """The spec of a named size.

    Args:
        size: "tiny" (tests), "starter" (what the starter bundle is made of), "small" (the default job) or "veri"
            (VeRi-776's own counts).
        seed: any integer >= 0; another seed is another fleet.

    Raises:
        ReIDError: `size` is none of them.
    """
    if size not in _SIZES:
        raise ReIDError(f"The drawn fleet has no size {size!r}; expected one of {', '.join(_SIZES)}.")
    return FleetSpec(size=size, seed=seed, **_SIZES[size])


_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "train_identities": 8,
        "test_identities": 6,
        "cameras": 4,
        "train_images": 96,
        "train_pairs": 24,
        "test_images": 62,
        "test_tracks": 20,
        "queries": 18,
        "long_side": (64, 110),
    },
    "starter": {
        "train_identities": 40,
        "test_identities": 6,
        "cameras": 9,
        "train_images": 480,
        "train_pairs": 160,
        "test_images": 62,
        "test_tracks": 20,
        "queries": 18,
        "long_side": (80, 140),
    },
    "small": {
        "train_identities": 120,
        "test_identities": 60,
        "cameras": 9,
        "train_images": 2880,
        "train_pairs": 720,
        "test_images": 1200,
        "test_tracks": 264,
        "queries": 246,
        "long_side": (80, 140),
    },
    "veri": {
        "train_identities": 576,
        "test_identities": 200,
        "cameras": 20,
        "train_images": 37778,
        "train_pairs": 5145,
        "test_images": 11579,
        "test_tracks": 2021,
        "queries": 1678,
        "long_side": (88, 176),
    },
}
