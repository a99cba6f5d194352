"""What a ranking scored, together with everything that makes the number comparable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reid_lightning.errors import count
from reid_lightning.ranking.confidence import bootstrap_intervals


@dataclass(frozen=True)
class RetrievalResult:
    """Shares in [0, 1], and the protocol they were measured under. Another metric is a field here, and a column in
    `per_query`.

    The tensors have an entry for each query, on the CPU. Queries without a right answer have NaN or 0 there, are
    counted in `queries_without_match` and are in no mean; `num_valid_queries` are in every mean.
    """

    mAP: float
    cmc: Mapping[int, float]
    mINP: float
    protocol: str
    metric: str
    ap: str
    junk: str
    queries: int
    queries_without_match: int
    gallery: int
    average_precision: Tensor
    """(queries,) float64, NaN without a right answer."""
    first_match: Tensor
    """(queries,) int64: place of the first right answer, 0 without one."""
    inverse_negative_penalty: Tensor
    """(queries,) float64, NaN without a right answer."""
    identities: Tensor
    """(queries,) int64: equal numbers for queries of one vehicle."""

    @property
    def num_valid_queries(self) -> int:
        """How many queries have a right answer that is not junk: those that the means are over."""
        return self.queries - self.queries_without_match

    def values(self) -> dict[str, float]:
        """Share by metric: {"mAP": 0.81, "rank-1": 0.97, ..., "mINP": 0.42}."""
        return named_shares(self.as_dict())

    def per_query(self) -> dict[str, Tensor]:
        """What each valid query adds to the mean of each metric, (valid queries,) float64."""
        valid = self.first_match > 0
        ranks = {f"rank-{rank}": (self.first_match[valid] <= rank).double() for rank in self.cmc}
        return {"mAP": self.average_precision[valid], **ranks, "mINP": self.inverse_negative_penalty[valid]}

    def confidence_intervals(
        self, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Bootstrap intervals (low, high) of all metrics: whole vehicles are drawn again, with replacement,
        because queries of one vehicle fail together. They say how much the choice of test vehicles matters, not how
        much another training run would differ."""
        columns = self.per_query()
        intervals = bootstrap_intervals(
            torch.stack(list(columns.values()), dim=1),
            resamples=resamples,
            level=level,
            seed=seed,
            groups=self.identities[self.first_match > 0],
        )
        return {name: (low, high) for name, (low, high) in zip(columns, intervals.tolist(), strict=True)}

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML, without the values of single queries."""
        values = {name: value for name, value in vars(self).items() if not isinstance(value, Tensor)}
        cmc = {str(rank): value for rank, value in self.cmc.items()}
        return {**values, "cmc": cmc, "num_valid_queries": self.num_valid_queries}

    def describe(self) -> str:
        """The protocol in one line."""
        unmatched = (
            f" ({self.queries_without_match:,} without a match, not counted)" if self.queries_without_match else ""
        )
        items = "tracks" if self.protocol.endswith("track") else "pictures"
        return (
            f"{self.protocol}, {self.metric}, AP as {self.ap}, junk: {self.junk}; "
            f"{count(self.queries, 'query', 'queries')}{unmatched}, {self.gallery:,} gallery {items}"
        )


def named_shares(metrics: Mapping[str, Any]) -> dict[str, float]:
    """`RetrievalResult.values` of what its `as_dict` gave, as files hold it."""
    shares: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, float):
            shares[name] = value
        elif name == "cmc":
            shares |= {f"rank-{rank}": share for rank, share in value.items()}
    return shares
