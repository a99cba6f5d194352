"""Figures over several random galleries: VehicleID's protocol draws ten and reports the mean."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.average_precision import APDefinition, evaluate_problem
from reid_lightning.ranking.protocols import EvaluationProtocol, Ranking
from reid_lightning.ranking.result import RetrievalResult
from reid_lightning.ranking.table import EmbeddingTable


@dataclass(frozen=True)
class Repeats:
    """The results of one protocol over several galleries, none of them empty; the same test vehicles in each."""

    results: tuple[RetrievalResult, ...]

    def __post_init__(self) -> None:
        if not self.results:
            raise ReIDError("there are no results to take a mean of; expected one for each gallery.")

    @property
    def values(self) -> dict[str, list[float]]:
        """Share of each repeat by metric: {"mAP": [...], "rank-1": [...], "mINP": [...]}."""
        columns = [result.values() for result in self.results]
        return {name: [column[name] for column in columns] for name in columns[0]}

    @property
    def means(self) -> dict[str, float]:
        """Mean over the repeats by metric."""
        return {name: statistics.mean(values) for name, values in self.values.items()}

    @property
    def spreads(self) -> dict[str, float]:
        """Sample standard deviation over the repeats by metric; 0 for a single one."""
        several = len(self.results) > 1
        return {name: statistics.stdev(values) if several else 0.0 for name, values in self.values.items()}

    @property
    def _drawn(self) -> str:
        return count(len(self.results), "random gallery", "random galleries")

    def pooled(self) -> RetrievalResult:
        """One result whose figures are the means, and whose tensors hold the queries of all repeats one after the
        other, so that confidence intervals draw vehicles with all of their queries."""
        first, means = self.results[0], self.means
        pooled: dict[str, Any] = {"cmc": {rank: means[f"rank-{rank}"] for rank in first.cmc}}
        for name, value in vars(first).items():
            if isinstance(value, Tensor):
                pooled[name] = torch.cat([getattr(result, name) for result in self.results])
            elif name in means:
                pooled[name] = means[name]
        return replace(first, protocol=f"{first.protocol}, mean of {self._drawn}", **pooled)

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"count": len(self.results), "mean": self.means, "std": self.spreads, "values": self.values}

    def describe(self) -> str:
        """In percent: "over 10 random galleries: mAP 81.20 ± 0.31, ..."."""
        means, spreads = self.means, self.spreads
        figures = ", ".join(f"{name} {100 * means[name]:.2f} ± {100 * spreads[name]:.2f}" for name in means)
        return f"over {self._drawn} (mean ± standard deviation): {figures}"


def rank_draws(
    protocol: EvaluationProtocol, pictures: EmbeddingTable, draws: Sequence[Sequence[int]]
) -> Iterator[Ranking]:
    """The ranking of each draw: its rows of `pictures` are the gallery, all other rows the queries, each in order."""
    for draw in draws:
        drawn = set(draw)
        queries = [row for row in range(len(pictures.identities)) if row not in drawn]
        yield protocol.rank(pictures.rows(queries), pictures.rows(sorted(drawn)))


def evaluate_rankings(rankings: Iterable[Ranking], *, ap: APDefinition, ranks: Sequence[int]) -> Repeats:
    """The result of each ranking, in all of which a vehicle has the same number (`RetrievalResult.identities`)."""
    numbers: dict[str, int] = {}
    results = []
    for ranking in rankings:
        result = evaluate_problem(ranking.problem, ap=ap, ranks=ranks)
        identities = [numbers.setdefault(name, len(numbers)) for name in ranking.query.identities]
        results.append(replace(result, identities=torch.tensor(identities)))
    return Repeats(tuple(results))
