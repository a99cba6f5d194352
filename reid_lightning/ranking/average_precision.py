"""mAP, CMC and mINP of queries against a gallery: exact, fast, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Literal, Unpack

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE, Chunk, RankingLabels, RankingProblem
from reid_lightning.ranking.ranks import places_of_matches
from reid_lightning.ranking.result import RetrievalResult
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores, Metric, Scores

APDefinition = Literal["step", "trapezoid"]
Rerank = Callable[..., Tensor]
"""`rerank(query_embeddings, gallery_embeddings, metric=...)` -> distances (queries, gallery)."""


def evaluate_retrieval(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    metric: Metric = "cosine",
    ap: APDefinition = "step",
    ranks: Sequence[int] = (1, 5, 10),
    rerank: Rerank | None = None,
    **labels: Unpack[RankingLabels],
) -> RetrievalResult:
    """Rank the gallery for every query and score the ranking.

    With k the right answers among the first r places, a right answer at place r has precision k/r.

    Args:
        query_embeddings: (queries, dim), any floating type; computed in float32 (float64 stays).
        gallery_embeddings: (gallery, dim), on the same device.
        metric: "cosine" or "euclidean".
        ap: "step" is the mean precision over the right answers (fast-reid, torchreid, TransReID); "trapezoid" the mean
            of that and the precision one place earlier, (k-1)/(r-1), or 1 at the first place (VeRi-776's own code).
        ranks: places at which the CMC is read.
        rerank: gives other distances before the ranking is scored: `KReciprocal(k1=20, k2=6, lambda_value=0.3)`.
        labels: `query_ids`, `gallery_ids` and, where there are some, `query_cameras`, `gallery_cameras`, `gt_index`,
            `jk_index`: see `RankingLabels`.

    Ties: a gallery picture before another in `gallery_embeddings` ranks before it, as a stable sort would have it.

    mINP is the mean over queries of (right answers) / (place of the last right answer); Ye et al., "Deep Learning for
    Person Re-identification: A Survey and Outlook", TPAMI 2021.

    Raises:
        ReIDError: sizes, widths or names do not fit, embeddings are not finite, or zero under "cosine", or no query
            has a right answer.
    """
    scores: Scores = EmbeddingScores(query_embeddings, gallery_embeddings, metric=metric)
    problem = RankingProblem(scores, **labels)
    if rerank is not None:
        problem.scores = reranked(rerank, query_embeddings, gallery_embeddings, metric=metric)
    return evaluate_problem(problem, ap=ap, ranks=ranks)


def evaluate_distances(
    distances: Tensor,
    *,
    metric: str = "given distances",
    protocol: str = IMAGE_TO_IMAGE,
    ap: APDefinition = "step",
    ranks: Sequence[int] = (1, 5, 10),
    **labels: Unpack[RankingLabels],
) -> RetrievalResult:
    """`evaluate_retrieval` for a finished matrix of distances (queries, gallery), lower is closer; `metric` and
    `protocol` say in words what it holds."""
    problem = RankingProblem(DistanceScores(distances, metric=metric), protocol=protocol, **labels)
    return evaluate_problem(problem, ap=ap, ranks=ranks)


def reranked(rerank: Rerank, query_embeddings: Tensor, gallery_embeddings: Tensor, *, metric: Metric) -> Scores:
    """The scores that a re-ranking gives."""
    distances = rerank(query_embeddings, gallery_embeddings, metric=metric)
    name = rerank.describe() if hasattr(rerank, "describe") else getattr(rerank, "__name__", type(rerank).__name__)
    return DistanceScores(distances, metric=f"{metric}, {name}")


def evaluate_problem(
    problem: RankingProblem, *, ap: APDefinition = "step", ranks: Sequence[int] = (1, 5, 10)
) -> RetrievalResult:
    """`evaluate_retrieval` for any ranking problem."""
    ranks = check_ranks(ranks)
    parts = [score_chunk(chunk, ap) for chunk in problem]
    precision, first, penalty = (torch.cat(part) for part in zip(*parts, strict=True))
    matched = first > 0
    if not matched.any():
        raise no_match(problem)
    return RetrievalResult(
        mAP=precision[matched].mean().item(),
        cmc={rank: (first[matched] <= rank).double().mean().item() for rank in ranks},
        mINP=penalty[matched].mean().item(),
        average_precision=precision,
        first_match=first,
        inverse_negative_penalty=penalty,
        identities=problem.query_identity.cpu(),
        queries=len(precision),
        gallery=problem.sizes[1],
        queries_without_match=int((~matched).sum()),
        metric=problem.scores.metric,
        ap=ap,
        junk=problem.junk_rule,
        protocol=problem.protocol,
    )


def check_ranks(ranks: Sequence[int]) -> list[int]:
    """The ranks, ascending, none twice; ReIDError for anything but whole numbers from 1 upwards."""
    whole = not isinstance(ranks, str) and isinstance(ranks, Sequence)
    if not whole or not ranks or not all(isinstance(rank, Integral) and rank >= 1 for rank in ranks):
        raise ReIDError(f"ranks is {ranks!r}; expected a list of places, whole numbers from 1 upwards.")
    return sorted(set(ranks))


def no_match(problem: RankingProblem) -> ReIDError:
    """What to raise when no query of a problem has a right answer."""
    return ReIDError(
        f"none of {count(problem.sizes[0], 'query', 'queries')} has a right answer in the gallery (junk: "
        f"{problem.junk_rule}). Are the identities of both sides written alike, and is each vehicle seen by two "
        "cameras?"
    )


def score_chunk(chunk: Chunk, ap: APDefinition) -> tuple[Tensor, Tensor, Tensor]:
    """(AP, place of the first right answer, inverse negative penalty), each (queries,) on the CPU; NaN, 0 and NaN
    without a right answer."""
    if ap not in ("step", "trapezoid"):
        raise ReIDError(f"ap is {ap!r}; expected 'step' or 'trapezoid'.")
    places, counts = places_of_matches(chunk)
    found = torch.arange(1, places.shape[1] + 1, dtype=torch.float64)  # k: right answers up to this one
    precision = found / places
    if ap == "trapezoid":
        earlier = torch.where(places > 1, (found - 1) / (places - 1).clamp(min=1), 1.0)
        precision = (precision + earlier) / 2
    valid = found <= counts[:, None]
    mean = torch.where(counts > 0, (precision * valid).sum(dim=1) / counts.clamp(min=1), torch.nan)
    last = places.gather(1, (counts - 1).clamp(min=0)[:, None]).squeeze(1)
    penalty = torch.where(counts > 0, counts / last.double(), torch.nan)
    return mean, places[:, 0] * (counts > 0), penalty
