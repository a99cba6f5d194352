"""The best matches of each query, in the order that evaluation scores: for pictures and for search."""

from __future__ import annotations

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import Index, Metric, Names, RankingProblem


def rank_gallery(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    query_ids: Names,
    gallery_ids: Names,
    query_cameras: Names | None = None,
    gallery_cameras: Names | None = None,
    jk_index: Index | None = None,
    metric: Metric = "cosine",
    top_k: int,
) -> tuple[Tensor, Tensor]:
    """Rows and scores of the `top_k` best gallery pictures of every query, junk left out.

    Arguments, junk and ties are as in `evaluate_retrieval`.

    Returns:
        rows (queries, k) int64 and scores (queries, k), best first, k = min(top_k, gallery), on the CPU. Where fewer
        than k pictures are not junk, rows are -1 and scores -inf. Scores are cosine similarities, or negative Euclidean
        distances.
    """
    if top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more.")
    problem = RankingProblem(
        query_embeddings,
        gallery_embeddings,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        jk_index=jk_index,
        metric=metric,
    )
    rows, scores = [], []
    for chunk in problem:
        kept = chunk.scores if chunk.junk is None else chunk.scores.masked_fill(chunk.junk, -torch.inf)
        ordered = kept.sort(dim=1, descending=True, stable=True)
        best = ordered.values[:, :top_k]
        if metric == "euclidean":
            length = problem.query[chunk.start : chunk.start + len(best)].square().sum(dim=1, keepdim=True)
            best = -(length - best).clamp(min=0).sqrt()
        rows.append(ordered.indices[:, :top_k].masked_fill(best.isneginf(), -1).cpu())
        scores.append(best.cpu())
    return torch.cat(rows), torch.cat(scores)
