"""Retrieval quality as a torchmetrics Metric: the functions of `ranking`, exact under DDP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import RetrievalResult, evaluate_retrieval
from reid_lightning.ranking.average_precision import APDefinition
from reid_lightning.ranking.checks import Index


class RetrievalMetric(Metric):
    """Collects embeddings by row and ranks them when asked.

    Rows 0 .. q-1 are the queries, the gallery follows. Every process may bring any rows in any order; rows that a
    distributed sampler repeats count once, so that any number of ranks gives the result of one. Embeddings stay on
    their device, in float32, until `compute`.

    Args:
        query_ids: (q,) identities; `gallery_ids` (g,).
        query_cameras: (q,) or None; `gallery_cameras` (g,) or None.
        gt_index: for each query the right gallery rows, `jk_index` the junk ones, instead of identities and cameras.
        ap: "step" or "trapezoid", as in `evaluate_retrieval`.
        ranks: of the CMC.
        kwargs: torchmetrics' own arguments.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    parts: list[Tensor]
    rows: list[Tensor]

    def __init__(
        self,
        *,
        query_ids: Sequence[str],
        gallery_ids: Sequence[str],
        query_cameras: Sequence[str] | None = None,
        gallery_cameras: Sequence[str] | None = None,
        gt_index: Index | None = None,
        jk_index: Index | None = None,
        ap: APDefinition = "step",
        ranks: Sequence[int] = (1, 5, 10),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol = {
            "query_ids": query_ids,
            "gallery_ids": gallery_ids,
            "query_cameras": query_cameras,
            "gallery_cameras": gallery_cameras,
            "gt_index": gt_index,
            "jk_index": jk_index,
            "ap": ap,
            "ranks": tuple(ranks),
        }
        self.ranked: tuple[Tensor, Tensor] | None = None
        """Query and gallery embeddings of the last `compute`, of all ranks: for pictures of the ranking."""
        self.result: RetrievalResult | None = None
        """What the last `compute` found, in full."""
        self.add_state("parts", default=[], dist_reduce_fx="cat")
        self.add_state("rows", default=[], dist_reduce_fx="cat")

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
        """mAP, mINP and rank-k over the rows of all ranks, as shares; the full result is in `result`."""
        self.ranked = self._by_row()
        self.result = evaluate_retrieval(*self.ranked, **self.protocol)
        values = {"mAP": self.result.mAP, "mINP": self.result.mINP}
        values |= {f"rank-{rank}": share for rank, share in self.result.cmc.items()}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any | None = None) -> None:
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
        queries = len(self.protocol["query_ids"])
        total = queries + len(self.protocol["gallery_ids"])
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
