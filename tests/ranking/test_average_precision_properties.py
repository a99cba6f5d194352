"""Average precision, CMC and mINP against sorting and counting by hand, on whatever hypothesis draws: ties, junk,
queries without an answer, one query, one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import drawn
from slow_ranking import slow_query

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import evaluate_distances, evaluate_retrieval


@dataclass(frozen=True)
class Case:
    distances: list[list[int]]
    query_ids: list[str]
    gallery_ids: list[str]
    query_cameras: list[str] | None
    gallery_cameras: list[str] | None
    jk_index: list[list[int]] | None

    def junk(self, query: int, row: int) -> bool:
        if self.jk_index is not None:
            return row in self.jk_index[query]
        same = self.query_ids[query] == self.gallery_ids[row]
        return self.query_cameras is not None and same and self.query_cameras[query] == self.gallery_cameras[row]

    def slow(self, ap: str) -> list[tuple[float, int, float] | None]:
        rows = range(len(self.gallery_ids))
        return [
            slow_query(
                [-distance for distance in self.distances[query]],
                [self.query_ids[query] == self.gallery_ids[row] for row in rows],
                [self.junk(query, row) for row in rows],
                ap,
            )
            for query in range(len(self.query_ids))
        ]

    def arguments(self) -> dict[str, object]:
        names = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras", "jk_index")
        return {name: getattr(self, name) for name in names}


@st.composite
def cases(draw: st.DrawFn, *, distinct: bool = False) -> Case:
    queries, gallery = draw(st.integers(1, 5)), draw(st.integers(1, 12))

    def names(count: int, of: str) -> list[str]:
        return draw(st.lists(st.sampled_from(of), min_size=count, max_size=count))

    one_row = st.lists(st.integers(0, 99 if distinct else 4), min_size=gallery, max_size=gallery, unique=distinct)
    rule = draw(st.sampled_from(["none", "cameras", "index"]))
    index = st.lists(st.lists(st.integers(0, gallery - 1)), min_size=queries, max_size=queries)
    return Case(
        draw(st.lists(one_row, min_size=queries, max_size=queries)),
        names(queries, "abc"),
        names(gallery, "abcd"),
        names(queries, "12") if rule == "cameras" else None,
        names(gallery, "12") if rule == "cameras" else None,
        draw(index) if rule == "index" else None,
    )


@drawn(100)
@given(case=cases(), ap=st.sampled_from(["step", "trapezoid"]))
def test_equals_sorting_by_hand(case: Case, ap: str) -> None:
    expected = case.slow(ap)
    distances = torch.tensor(case.distances, dtype=torch.float64)
    if not any(expected):
        with pytest.raises(ReIDError, match="right answer"):
            evaluate_distances(distances, **case.arguments(), ap=ap)
        return
    result = evaluate_distances(distances, **case.arguments(), ap=ap, ranks=(1, 2, 5))
    answered = [one for one in expected if one is not None]
    assert result.queries_without_match == len(expected) - len(answered)
    assert result.mAP == pytest.approx(sum(one[0] for one in answered) / len(answered), abs=1e-12)
    assert result.mINP == pytest.approx(sum(one[2] for one in answered) / len(answered), abs=1e-12)
    for rank, share in result.cmc.items():
        assert share == pytest.approx(sum(one[1] <= rank for one in answered) / len(answered), abs=1e-12)
    for query, one in enumerate(expected):
        precision, place = float(result.average_precision[query]), int(result.first_match[query])
        assert (math.isnan(precision) and place == 0) if one is None else precision == pytest.approx(one[0], abs=1e-12)
        assert one is None or place == one[1]


@drawn(40)
@given(case=cases(distinct=True), random=st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_is_nobodys_business(case: Case, random) -> None:
    assume(case.jk_index is None and any(case.slow("step")))
    order = list(range(len(case.gallery_ids)))
    random.shuffle(order)
    distances = torch.tensor(case.distances, dtype=torch.float64)
    arguments = case.arguments()
    shuffled = arguments | {
        name: None if arguments[name] is None else [arguments[name][row] for row in order]
        for name in ("gallery_ids", "gallery_cameras")
    }
    one, other = evaluate_distances(distances, **arguments), evaluate_distances(distances[:, order], **shuffled)
    assert (one.mAP, dict(one.cmc), one.mINP) == (other.mAP, dict(other.cmc), other.mINP)


@drawn(50)
@given(case=cases(), ap=st.sampled_from(["step", "trapezoid"]))
def test_figures_are_shares_and_agree_with_each_other(case: Case, ap: str) -> None:
    assume(any(case.slow(ap)))
    result = evaluate_distances(torch.tensor(case.distances).double(), **case.arguments(), ap=ap, ranks=(1, 2, 3, 50))
    shares = list(result.cmc.values())
    assert shares == sorted(shares) and shares[-1] == 1.0 and shares[0] >= 0
    assert 0 < result.mAP <= 1 and 0 < result.mINP <= 1
    perfect = all(place == 1 and penalty == 1 for _, place, penalty in filter(None, case.slow(ap)))
    assert (result.mAP == pytest.approx(1.0)) == perfect


@drawn(40)
@given(
    numbers=st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=2, max_size=12),
    queries=st.integers(1, 6),
    metric=st.sampled_from(["cosine", "euclidean"]),
)
def test_embeddings_rank_as_their_distances_do(numbers: list[list[int]], queries: int, metric: str) -> None:
    queries = min(queries, len(numbers) - 1)
    embeddings = torch.tensor(numbers, dtype=torch.float64)
    identities = ["a" if row[0] > 0 else "b" for row in numbers]
    ids = {"query_ids": identities[:queries], "gallery_ids": identities[queries:]}
    assume(set(ids["query_ids"]) & set(ids["gallery_ids"]))
    query, gallery = embeddings[:queries], embeddings[queries:]
    if metric == "cosine" and not all(any(row) for row in numbers):
        with pytest.raises(ReIDError, match="zero vectors"):
            evaluate_retrieval(query, gallery, metric=metric, **ids)
        return
    assume(metric == "euclidean")  # cosines of integers are not exact, so their ties are anybody's
    distances = (query[:, None] - gallery[None]).square().sum(dim=2)
    given_, expected = evaluate_retrieval(query, gallery, metric=metric, **ids), evaluate_distances(distances, **ids)
    assert (given_.mAP, dict(given_.cmc), given_.mINP) == (expected.mAP, dict(expected.cmc), expected.mINP)
