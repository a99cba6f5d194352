"""Queries with their best matches, as records: what pictures of a ranking show.

Which queries and which of their matches are worth a look is decided here, how they look is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.result import RetrievalResult
from reid_lightning.ranking.scores import EmbeddingScores
from reid_lightning.ranking.top_matches import top_matches


@dataclass(frozen=True)
class RankedMatch:
    """One gallery picture in a ranking; `place` counts from 1, junk left out, `score` is its cosine similarity or its
    distance."""

    image: VehicleImage
    place: int
    score: float
    correct: bool


@dataclass(frozen=True)
class RankedList:
    """A query and matches of it, best first; `average_precision` is NaN without a right answer in the gallery.

    `answer`, if any, is the best right answer, to be shown apart from the matches.
    """

    query: VehicleImage
    matches: tuple[RankedMatch, ...]
    average_precision: float
    answer: RankedMatch | None = None


def choose_queries(average_precision: Tensor, count: int) -> list[int]:
    """Rows of `count` queries spread evenly from the worst to the best average precision: honest and deterministic."""
    ordered = _worst_first(average_precision)
    places = torch.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().long()
    return ordered[places].tolist()


def choose_hardest(average_precision: Tensor, count: int) -> list[int]:
    """Rows of the `count` queries of the lowest average precision, the worst first."""
    return _worst_first(average_precision)[:count].tolist()


@dataclass(frozen=True)
class PicturedRanking:
    """A ranking, what it scored, and a picture of each of its queries and gallery items."""

    problem: RankingProblem
    result: RetrievalResult
    query: Sequence[VehicleImage]
    gallery: Sequence[VehicleImage]

    @classmethod
    def of_embeddings(
        cls, dataset: VehicleDataset, query_embeddings: Tensor, gallery_embeddings: Tensor, result: RetrievalResult
    ) -> PicturedRanking:
        """The image-to-image ranking of a data set's pictures."""
        scores = EmbeddingScores(query_embeddings, gallery_embeddings)
        return cls(RankingProblem(scores, **ranking_labels(dataset)), result, dataset.query, dataset.gallery)


def ranked_lists(ranking: PicturedRanking, *, rows: Sequence[int], columns: int) -> list[RankedList]:
    """The `columns` best matches of the queries in `rows`, junk left out."""
    return [
        RankedList(ranking.query[row], tuple(matches), float(ranking.result.average_precision[row]))
        for row, matches in zip(rows, _rankings(ranking, rows=rows, columns=columns), strict=True)
    ]


def hardest_lists(ranking: PicturedRanking, *, queries: int, confusers: int) -> list[RankedList]:
    """The `queries` queries of the lowest average precision, each with the `confusers` wrong pictures that rank best
    as its matches, and the right one that ranks best as its answer."""
    precision = ranking.result.average_precision
    rows = choose_hardest(precision, queries)
    rankings = _rankings(ranking, rows=rows, columns=len(ranking.gallery))  # the right answer may stand anywhere
    lists = []
    for row, matches in zip(rows, rankings, strict=True):
        wrong: list[RankedMatch] = []
        answer = None
        for match in matches:
            if match.correct:
                answer = answer or match
            elif len(wrong) < confusers:
                wrong.append(match)
            if answer and len(wrong) == confusers:
                break
        lists.append(RankedList(ranking.query[row], tuple(wrong), float(precision[row]), answer))
    return lists


def _worst_first(average_precision: Tensor) -> Tensor:
    """Rows of the queries that have a right answer, (valid queries,), the lowest average precision first."""
    scored = (~average_precision.isnan()).nonzero().flatten()
    return scored[average_precision[scored].sort(stable=True).indices]


def _rankings(ranking: PicturedRanking, *, rows: Sequence[int], columns: int) -> list[Iterator[RankedMatch]]:
    """For each query in `rows` its `columns` best matches, best first, made as they are asked for."""
    found, scores = top_matches(ranking.problem, columns, queries=rows)
    scores = scores if ranking.problem.scores.similarity else -scores
    return [
        _matches(ranking, ranking.query[row], found[number].tolist(), scores[number].tolist())
        for number, row in enumerate(rows)
    ]


def _matches(
    ranking: PicturedRanking, query: VehicleImage, rows: Sequence[int], scores: Sequence[float]
) -> Iterator[RankedMatch]:
    for place, (row, score) in enumerate(zip(rows, scores, strict=True), start=1):
        if row < 0:  # behind the last picture that is not junk
            return
        image = ranking.gallery[row]
        yield RankedMatch(image, place, score, correct=image.identity == query.identity)
