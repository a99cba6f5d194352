"""mAP, CMC and mINP of queries against a gallery: exact, without sorting the gallery, in bounded memory.

Only the ranks of the right answers matter, and a rank is a count: how many wrong answers score higher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import Chunk, Index, Metric, Names, RankingProblem

APDefinition = Literal["step", "trapezoid"]


@dataclass(frozen=True)
class RetrievalResult:
    """What a ranking scored, with the protocol it was scored under. Shares lie in [0, 1].

    `average_precision` is (queries,) float64 on the CPU, NaN for queries without a right answer; those are counted in
    `queries_without_match` and are in no mean.
    """

    mAP: float
    cmc: Mapping[int, float]
    mINP: float
    average_precision: Tensor
    queries: int
    gallery: int
    queries_without_match: int
    metric: str
    ap: str
    junk: str

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON and YAML, without the values of single queries."""
        return {
            "mAP": self.mAP,
            "cmc": {str(rank): value for rank, value in self.cmc.items()},
            "mINP": self.mINP,
            "protocol": "image to image",
            "metric": self.metric,
            "ap": self.ap,
            "junk": self.junk,
            "queries": self.queries,
            "queries_without_match": self.queries_without_match,
            "gallery": self.gallery,
        }

    def describe(self) -> str:
        """The protocol in one line."""
        unmatched = (
            f" ({self.queries_without_match:,} without a match, not counted)" if self.queries_without_match else ""
        )
        return (
            f"image to image, {self.metric}, AP as {self.ap}, junk: {self.junk}; "
            f"{self.queries:,} queries{unmatched}, {self.gallery:,} gallery pictures"
        )


def evaluate_retrieval(
    query_embeddings: Tensor,
    gallery_embeddings: Tensor,
    *,
    query_ids: Names,
    gallery_ids: Names,
    query_cameras: Names | None = None,
    gallery_cameras: Names | None = None,
    gt_index: Index | None = None,
    jk_index: Index | None = None,
    metric: Metric = "cosine",
    ap: APDefinition = "step",
    ranks: Sequence[int] = (1, 5, 10),
) -> RetrievalResult:
    """Rank the gallery for every query and score the ranking.

    With k the right answers among the first r places, a right answer at place r has precision k/r.

    Args:
        query_embeddings: (queries, dim), any floating type; computed in float32 (float64 stays).
        gallery_embeddings: (gallery, dim), on the same device.
        query_ids: (queries,) identities, strings or integers; `gallery_ids` (gallery,).
        query_cameras: (queries,) cameras; `gallery_cameras` (gallery,). With both, gallery pictures of the query's
            identity and camera are junk: as if they were not there (Market-1501's and VeRi-776's rule).
        gt_index: for each query the 0-based gallery rows of its right answers, instead of equal identities.
        jk_index: for each query the 0-based gallery rows that are junk, instead of the camera rule.
        metric: "cosine" (a zero vector is equally far from everything) or "euclidean".
        ap: "step" is the mean precision over the right answers (fast-reid, torchreid, TransReID); "trapezoid" the mean
            of that and the precision one place earlier, (k-1)/(r-1), or 1 at the first place (VeRi-776's own code).
        ranks: places at which the CMC is read.

    Ties: a gallery picture before another in `gallery_embeddings` ranks before it, as a stable sort would have it.

    mINP is the mean over queries of (right answers) / (place of the last right answer); Ye et al., "Deep Learning for
    Person Re-identification: A Survey and Outlook", TPAMI 2021.

    Raises:
        ReIDError: sizes, widths or names do not fit, embeddings are not finite, or no query has a right answer.
    """
    if ap not in ("step", "trapezoid"):
        raise ReIDError(f"ap is {ap!r}; expected 'step' or 'trapezoid'.")
    ranks = sorted({int(rank) for rank in ranks})
    if not ranks or ranks[0] < 1:
        raise ReIDError(f"ranks is {ranks}; expected places from 1 upwards.")
    problem = RankingProblem(
        query_embeddings,
        gallery_embeddings,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        gt_index=gt_index,
        jk_index=jk_index,
        metric=metric,
    )
    parts = [_score_chunk(chunk, ap) for chunk in problem]
    precision, first, penalty = (torch.cat(part) for part in zip(*parts, strict=True))
    matched = ~precision.isnan()
    if not matched.any():
        raise ReIDError(
            f"none of the {len(precision):,} queries has a right answer in the gallery (junk: {problem.junk_rule}). "
            "Are the identities of both sides written alike, and is each vehicle seen by two cameras?"
        )
    return RetrievalResult(
        mAP=precision[matched].mean().item(),
        cmc={rank: (first[matched] <= rank).double().mean().item() for rank in ranks},
        mINP=penalty[matched].mean().item(),
        average_precision=precision,
        queries=len(precision),
        gallery=problem.sizes[1],
        queries_without_match=int((~matched).sum()),
        metric=metric,
        ap=ap,
        junk=problem.junk_rule,
    )


def _score_chunk(chunk: Chunk, ap: APDefinition) -> tuple[Tensor, Tensor, Tensor]:
    """(AP, place of the first right answer, inverse negative penalty), each (queries,) on the CPU."""
    places, valid = _places(chunk)
    counts = valid.sum(dim=1)
    order = torch.arange(places.shape[1], dtype=torch.float64, device=places.device)
    found = (counts[:, None] - order).clamp(min=1)  # k: right answers down to this one, the last one first
    precision = found / places
    if ap == "trapezoid":
        earlier = torch.where(places > 1, (found - 1) / (places - 1).clamp(min=1), 1.0)
        precision = (precision + earlier) / 2
    has_match = counts > 0
    mean = torch.where(has_match, (precision * valid).sum(dim=1) / counts.clamp(min=1), torch.nan)
    best = places.gather(1, (counts - 1).clamp(min=0)[:, None]).squeeze(1)
    last = counts / places[:, 0]
    return mean.cpu(), best.cpu(), last.cpu()


def _places(chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Places (from 1) of the right answers of each query, from the last to the first, and which entries are real.

    Both (queries, largest number of right answers). A right answer's place is one more than the wrong answers that
    score higher plus the right answers before it: one binary search of every wrong answer among the sorted right ones.
    """
    scores, match = chunk.scores, chunk.match
    counts = match.sum(dim=1)
    width = max(1, int(counts.max()))
    slots = torch.arange(width, device=scores.device)
    valid = slots < counts[:, None]
    right = scores.new_full((len(scores), width), torch.inf)
    right[valid] = scores[match]
    right = right.sort(dim=1).values
    left_out = match if chunk.junk is None else match | chunk.junk
    wrong = scores.masked_fill(left_out, -torch.inf)
    not_above = torch.searchsorted(right, wrong, right=True, out_int32=True)  # right answers that score <= this one
    below = torch.nn.functional.pad(right, (1, 0), value=torch.nan).gather(1, not_above.long())
    tied = (below == wrong).any(dim=1)
    bins = torch.zeros(len(scores), width + 1, dtype=torch.int32, device=scores.device)
    bins.scatter_add_(1, not_above.long(), torch.ones_like(not_above))
    higher = bins[:, 1:].flip(1).cumsum(1).flip(1)  # wrong answers above the right answer in this slot
    places = (higher + counts[:, None] - slots).clamp(min=1).double()
    for row in tied.nonzero().flatten().tolist():
        places[row] = _tied_places(scores[row], match[row], left_out[row] & ~match[row], width)
    return places, valid


def _tied_places(scores: Tensor, match: Tensor, junk: Tensor, width: int) -> Tensor:
    """The same for one query where a wrong answer scores exactly as a right one: by a stable sort."""
    kept = ~junk
    order = scores[kept].sort(descending=True, stable=True).indices
    places = match[kept][order].nonzero().flatten().flip(0).double() + 1
    return torch.nn.functional.pad(places, (0, width - len(places)), value=1.0)
