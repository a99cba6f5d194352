"""The best matches of each query, in the order that evaluation scores: for pictures and for search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import RankingLabels, RankingProblem
from reid_lightning.ranking.scores import EmbeddingScores, Metric


def rank_gallery(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    top_k: int,
    metric: Metric = "cosine",
    **labels: Unpack[RankingLabels],
) -> tuple[Tensor, Tensor]:
    """Rows and scores of the `top_k` best gallery pictures of every query, junk left out.

    Arguments, junk and ties are as in `evaluate_retrieval`.

    Returns:
        rows (queries, k) int64 and scores (queries, k), best first, k = min(top_k, gallery), on the CPU. Where fewer
        than k pictures are not junk, rows are -1 and scores -inf. Scores are cosine similarities, or negative Euclidean
        distances.
    """
    scores = EmbeddingScores(query_embeddings, gallery_embeddings, metric=metric)
    return top_matches(RankingProblem(scores, **labels), top_k)


def top_matches(problem: RankingProblem, top_k: int, *, queries: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """`rank_gallery` for any ranking problem, for all queries or for those in `queries`."""
    parts = [part[1:] for part in matches_by_chunk(problem, top_k, queries=queries)]
    all_rows, all_scores = (torch.cat(side) for side in zip(*parts, strict=True))
    return all_rows, all_scores


def matches_by_chunk(
    problem: RankingProblem, top_k: int, *, queries: Sequence[int] | None = None
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The same a few queries at a time: the first one's number, rows and scores."""
    if top_k < 1:
        raise ReIDError(f"top_k is {top_k}; expected 1 or more.")
    for chunk in problem if queries is None else map(problem.query, queries):
        rows, best = _best(chunk.scores, min(top_k, problem.sizes[1]))
        rows = rows.masked_fill(best.isneginf(), -1)
        yield chunk.start, rows.cpu(), problem.scores.comparable(chunk.start, best).cpu()


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows and values (queries, count) of the highest scores, as a stable sort would have them."""
    gallery = scores.shape[1]
    values, rows = scores.topk(min(count + 1, gallery), dim=1)  # one more tells whether the last place is tied
    cut = (values[:, count - 1] == values[:, -1]) & ~values[:, -1].isneginf() if count < gallery else None
    rows = rows[:, :count].sort(dim=1).values
    values, order = scores.gather(1, rows).sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order)
    if cut is not None:
        for query in cut.nonzero().squeeze(1).tolist():
            rows[query] = scores[query].sort(descending=True, stable=True).indices[:count]
    return rows, values
