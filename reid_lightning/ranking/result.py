"""What a ranking scored, together with everything that makes the number comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.ranking.confidence import bootstrap_intervals


@dataclass(frozen=True)
class RetrievalResult:
    """Shares in [0, 1], and the protocol they were measured under.

    The tensors have an entry for each query, on the CPU. Queries without a right answer have NaN or 0 there, are
    counted in `queries_without_match` and are in no mean; `num_valid_queries` are in every mean.
    """

    mAP: float
    cmc: Mapping[int, float]
    mINP: float
    average_precision: Tensor
    """(queries,) float64, NaN without a right answer."""
    first_match: Tensor
    """(queries,) int64: place of the first right answer, 0 without one."""
    inverse_negative_penalty: Tensor
    """(queries,) float64, NaN without a right answer."""
    identities: Tensor
    """(queries,) int64: equal numbers for queries of one vehicle."""
    queries: int
    gallery: int
    queries_without_match: int
    metric: str
    ap: str
    junk: str
    protocol: str

    @property
    def num_valid_queries(self) -> int:
        """How many queries have a right answer that is not junk: those that the means are over."""
        return self.queries - self.queries_without_match

    def confidence_intervals(
        self, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Bootstrap intervals (low, high) of mAP, mINP and rank-k: whole vehicles are drawn again, with replacement,
        because queries of one vehicle fail together. They say how much the choice of test vehicles matters, not how
        much another training run would differ."""
        valid = self.first_match > 0
        columns = {"mAP": self.average_precision[valid], "mINP": self.inverse_negative_penalty[valid]}
        columns |= {f"rank-{rank}": (self.first_match[valid] <= rank).double() for rank in self.cmc}
        values = torch.stack(list(columns.values()), dim=1)
        intervals = bootstrap_intervals(
            values, resamples=resamples, level=level, seed=seed, groups=self.identities[valid]
        )
        return {name: (low, high) for name, (low, high) in zip(columns, intervals.tolist(), strict=True)}

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML, without the values of single queries."""
        return {
            "mAP": self.mAP,
            "cmc": {str(rank): value for rank, value in self.cmc.items()},
            "mINP": self.mINP,
            "protocol": self.protocol,
            "metric": self.metric,
            "ap": self.ap,
            "junk": self.junk,
            "queries": self.queries,
            "num_valid_queries": self.num_valid_queries,
            "queries_without_match": self.queries_without_match,
            "gallery": self.gallery,
        }

    def describe(self) -> str:
        """The protocol in one line."""
        unmatched = (
            f" ({self.queries_without_match:,} without a match, not counted)" if self.queries_without_match else ""
        )
        items = "tracks" if self.protocol.endswith("track") else "pictures"
        return (
            f"{self.protocol}, {self.metric}, AP as {self.ap}, junk: {self.junk}; "
            f"{self.queries:,} queries{unmatched}, {self.gallery:,} gallery {items}"
        )
