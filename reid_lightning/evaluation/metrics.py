"""Retrieval quality as torchmetrics Metrics: the functions of `ranking`, exact under DDP.

Rows 0 .. q-1 are the queries, the gallery follows. Every process may bring any rows in any order; rows that a
distributed sampler repeats count once, so that any number of ranks gives the result of one. Embeddings stay on their
device, in float32, until `compute`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import OpenSetResult, RetrievalResult, evaluate_open_set, evaluate_retrieval
from reid_lightning.ranking.average_precision import APDefinition, evaluate_problem
from reid_lightning.ranking.problem import RankingLabels
from reid_lightning.ranking.protocols import EvaluationProtocol
from reid_lightning.ranking.table import EmbeddingTable


class EmbeddingMetric(Metric, ABC):
    """Collects embeddings by row; a metric says in `_evaluate` what they are worth.

    Args:
        queries: number of queries, the first rows; `gallery`: number of gallery pictures, the rows behind them.
        kwargs: torchmetrics' own arguments.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    parts: list[Tensor]
    rows: list[Tensor]

    def __init__(self, *, queries: int, gallery: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = queries, gallery
        self.last_embeddings: tuple[Tensor, Tensor] | None = None
        """Query and gallery embeddings of the last `compute`, of all ranks: for pictures of the ranking."""
        self.add_state("parts", default=[], dist_reduce_fx="cat")
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def _evaluate(self, query: Tensor, gallery: Tensor) -> dict[str, float]:
        """Named values from query (q, dim) and gallery (g, dim) embeddings."""

    def update(self, embeddings: Tensor, rows: Tensor) -> None:
        """Add embeddings (batch, dim) of the pictures in `rows` (batch,)."""
        if embeddings.ndim != 2 or rows.shape != embeddings.shape[:1]:
            raise ReIDError(
                f"embeddings have shape {tuple(embeddings.shape)} and rows {tuple(rows.shape)}; expected (batch, dim) "
                "and (batch,)."
            )
        self.parts.append(embeddings.detach().float())
        self.rows.append(rows.detach().to(embeddings.device, torch.long))

    def compute(self) -> dict[str, Tensor]:
        """The values over the rows of all ranks, as float64 tensors."""
        self.last_embeddings = self._by_row()
        values = self._evaluate(*self.last_embeddings)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def _sync_dist(
        self, dist_sync_fn: Callable[..., list[Tensor]] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        """Gather the states of all ranks. A rank that was given no picture joins in with as many dimensions as the
        others have: torchmetrics' own stand-in, a vector of length 0, cannot be gathered with matrices."""
        width = self.parts[0].shape[1] if self.parts else 0
        widths = dist_sync_fn(torch.tensor([width], device=self.device), group=process_group or self.process_group)
        if not self.parts:
            self.parts = [torch.empty(0, int(torch.stack(widths).max()), device=self.device)]
            self.rows = [torch.empty(0, dtype=torch.long, device=self.device)]
        super()._sync_dist(dist_sync_fn, process_group)

    def _by_row(self) -> tuple[Tensor, Tensor]:
        """Query (q, dim) and gallery (g, dim) embeddings, each row once; ReIDError for missing or wrong rows."""
        queries, gallery = self.sizes
        total = queries + gallery
        if len(self.rows) == 0:  # a list, or the one tensor that a sync leaves
            raise ReIDError("no embedding was added; expected one for each query and gallery picture.")
        rows = dim_zero_cat(self.rows)
        parts = dim_zero_cat(self.parts)
        if int(rows.min()) < 0 or int(rows.max()) >= total:
            raise ReIDError(f"rows reach from {int(rows.min())} to {int(rows.max())}; expected 0 to {total - 1}.")
        order = rows.argsort(stable=True)
        ordered = rows[order]
        chosen = order[torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])]  # first of each
        if len(chosen) != total:
            raise ReIDError(
                f"{total - len(chosen)} of {total} pictures were not embedded; validate on all of them (no "
                "trainer.limit_val_batches)."
            )
        everything = parts[chosen]
        return everything[:queries], everything[queries:]


class RetrievalMetric(EmbeddingMetric):
    """mAP, mINP and rank-k, image to image, as shares; the full result of the last `compute` is in `result`.

    Arguments are those of `ranking.evaluate_retrieval`, and torchmetrics' own.
    """

    def __init__(
        self,
        *,
        ap: APDefinition = "step",
        ranks: Sequence[int] = (1, 5, 10),
        **kwargs: Any,
    ) -> None:
        labels = _take_labels(kwargs)
        super().__init__(queries=len(labels["query_ids"]), gallery=len(labels["gallery_ids"]), **kwargs)
        self._rank = partial(evaluate_retrieval, **labels, ap=ap, ranks=tuple(ranks))
        self.result: RetrievalResult | None = None

    def _evaluate(self, query: Tensor, gallery: Tensor) -> dict[str, float]:
        self.result = self._rank(query, gallery)
        return self.result.values()


class TrackRetrievalMetric(EmbeddingMetric):
    """The same for tracks; the full result of the last `compute` is in `result`.

    Args:
        protocol: `ranking.protocols.ImageToTrack` or `TrackToTrack`.
        query: identities, tracks and cameras of the query pictures; its embeddings do not matter. `gallery` likewise.
            A query track's pictures are those of the gallery where it holds the track, as in VeRi-776.
    """

    def __init__(
        self, protocol: EvaluationProtocol, *, query: EmbeddingTable, gallery: EmbeddingTable, **kwargs: Any
    ) -> None:
        super().__init__(queries=len(query.identities), gallery=len(gallery.identities), **kwargs)
        self.protocol = protocol
        self.names = query, gallery
        self.result: RetrievalResult | None = None

    def _evaluate(self, query: Tensor, gallery: Tensor) -> dict[str, float]:
        tables = [replace(names, embeddings=side) for names, side in zip(self.names, (query, gallery), strict=True)]
        ranking = self.protocol.rank(*tables)
        self.result = evaluate_problem(ranking.problem, ap=self.protocol.ap, ranks=self.protocol.ranks)
        return self.result.values()


class OpenSetMetric(EmbeddingMetric):
    """The share of same pairs accepted at each rate of false matches, image to image: `TPR@FPR=0.001`; the full result
    of the last `compute` is in `result`.

    Arguments are those of `ranking.evaluate_open_set`, and torchmetrics' own.
    """

    def __init__(
        self,
        *,
        false_match_rates: Sequence[float] = (1e-4, 1e-3, 1e-2),
        **kwargs: Any,
    ) -> None:
        labels = _take_labels(kwargs)
        super().__init__(queries=len(labels["query_ids"]), gallery=len(labels["gallery_ids"]), **kwargs)
        self._rank = partial(evaluate_open_set, **labels, false_match_rates=tuple(false_match_rates))
        self.result: OpenSetResult | None = None

    def _evaluate(self, query: Tensor, gallery: Tensor) -> dict[str, float]:
        self.result = self._rank(query, gallery)
        return {f"TPR@FPR={point.asked_rate:g}": point.true_match_rate for point in self.result.match_points}


def _take_labels(kwargs: dict[str, Any]) -> RankingLabels:
    """The labels of a ranking out of the arguments of a metric."""
    return cast(RankingLabels, {name: kwargs.pop(name) for name in RankingLabels.__annotations__ if name in kwargs})
