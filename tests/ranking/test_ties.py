"""The documented order of ties: equal embeddings tie, and of a tie the first in the gallery comes first, whatever a
matrix product rounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import drawn
from torch import Tensor

from reid_lightning.ranking import (
    DistanceScores,
    EmbeddingScores,
    KReciprocal,
    RankingProblem,
    alpha_query_expansion,
    evaluate_distances,
    evaluate_open_set,
    evaluate_retrieval,
    neighbours,
    problem,
    rank_gallery,
    scores,
    track_distances,
)
from reid_lightning.ranking.equal_rows import EqualRows
from reid_lightning.ranking.neighbours import nearest_neighbours
from reid_lightning.ranking.pair_scores import PairScores
from reid_lightning.ranking.top_matches import matches_by_chunk, top_matches

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
METRICS = ["cosine", "euclidean"]


@st.composite
def sides(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int], list[int]]:
    """Queries and gallery taken from a few different embeddings, and which of these each is."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    different, dim = draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 17, 64, 300]))
    few = torch.randn(different, dim, generator=generator).to(draw(st.sampled_from(DTYPES)))
    rows = [
        torch.randint(different, (draw(st.sampled_from(sizes)),), generator=generator)
        for sizes in ([1, 2, 5, 12], [1, 2, 3, 9, 33])
    ]
    return few[rows[0]], few[rows[1]], rows[0].tolist(), rows[1].tolist()


def small_blocks(monkeypatch: pytest.MonkeyPatch, chunk: int = 40, block: int = 2) -> None:
    monkeypatch.setattr(problem, "_CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(scores, "_BLOCK_QUERIES", block)


def block(of: EmbeddingScores, start: int, end: int) -> Tensor:
    return of.block(start, end, out=torch.empty(end - start, of.sizes[1], dtype=of.dtype))


@drawn(80)
@given(sides=sides(), metric=st.sampled_from(METRICS), size=st.sampled_from([1, 2, 5, 256]))
def test_equal_embeddings_have_equal_scores_whatever_is_asked_for(sides, metric: str, size: int) -> None:
    query, gallery, query_names, gallery_names = sides
    of = EmbeddingScores(query, gallery, metric=metric, block=size)
    everything = block(of, 0, len(query))
    shown = of.comparable(0, everything.clone())
    for number, name in enumerate(query_names):
        alone = block(of, number, number + 1)
        assert torch.equal(alone[0], everything[number])
        assert torch.equal(of.comparable(number, alone)[0], shown[number])
        assert torch.equal(everything[number], everything[query_names.index(name)])
    for row, name in enumerate(gallery_names):
        assert torch.equal(everything[:, row], everything[:, gallery_names.index(name)])
    middle = slice(len(query) // 3, len(query) // 2 + 1)
    assert torch.equal(block(of, middle.start, middle.stop), everything[middle])


@drawn(25)
@given(sides=sides(), metric=st.sampled_from(METRICS), junk=st.booleans())
def test_everything_that_reads_a_ranking_agrees_to_the_last_tie(sides, metric: str, junk: bool) -> None:
    """Against a stable sort of the scores of the first of equals, one query at a time."""
    query, gallery, query_names, gallery_names = sides
    right = [[(3 * number) % len(gallery)] for number in range(len(query))]
    out = [[(3 * number + 1) % len(gallery)] if junk and len(gallery) > 1 else [] for number in range(len(query))]
    rules = {"query_ids": list(range(len(query))), "gallery_ids": [-1] * len(gallery), "metric": metric}
    exact = torch.stack([block(EmbeddingScores(query, gallery, metric=metric), n, n + 1)[0] for n in range(len(query))])
    exact = exact[[query_names.index(name) for name in query_names]]
    exact = exact[:, [gallery_names.index(name) for name in gallery_names]]
    orders = [
        [
            row
            for row in sorted(range(len(gallery)), key=lambda row, n=n: (-float(exact[n, row]), row))
            if row not in out[n]
        ]
        for n in range(len(query))
    ]
    places = [orders[n].index(right[n][0]) + 1 for n in range(len(query))]
    with pytest.MonkeyPatch.context() as patched:
        small_blocks(patched)
        result = evaluate_retrieval(query, gallery, **rules, gt_index=right, jk_index=out)
        rows, _ = rank_gallery(query, gallery, **rules, jk_index=out, top_k=len(gallery))
        cut, _ = rank_gallery(query, gallery, **rules, jk_index=out, top_k=max(1, len(gallery) // 2))
        of = RankingProblem(
            EmbeddingScores(query, gallery, metric=metric), **_names(rules), gt_index=right, jk_index=out
        )
        alone = top_matches(of, len(gallery), queries=range(len(query)))
        chunks = [part[1] for part in matches_by_chunk(of, len(gallery))]
        first = PairScores(of).same_is_first.tolist() if query.dtype != torch.float64 else None  # slow there
    assert result.first_match.tolist() == places
    assert result.mAP == pytest.approx(sum(1 / place for place in places) / len(places))
    assert [[row for row in found if row >= 0] for found in rows.tolist()] == orders
    assert [found[: len(order)] for found, order in zip(cut.tolist(), orders, strict=True)] == [
        (order + [-1] * len(gallery))[: max(1, len(gallery) // 2)][: len(order)] for order in orders
    ]
    assert torch.equal(alone[0], rows) and torch.equal(torch.cat(chunks), rows)
    assert first is None or first == [place == 1 for place in places]


def _names(rules: dict[str, object]) -> dict[str, object]:
    return {name: rules[name] for name in ("query_ids", "gallery_ids")}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gallery_of_one_embedding_keeps_its_own_order(metric: str, dtype: torch.dtype) -> None:
    """The case that was reported, for every size that a kernel treats in its own way."""
    generator = torch.Generator().manual_seed(0)
    for queries, gallery, dim in [(1, 1, 8), (1, 3, 16), (1, 17, 512), (3, 5, 17), (8, 33, 64), (40, 64, 128)]:
        query = torch.randn(queries, dim, generator=generator).to(dtype)
        same = torch.randn(1, dim, generator=generator).to(dtype).repeat(gallery, 1)
        right = torch.randint(gallery, (queries,), generator=generator).tolist()
        names = {"query_ids": list(range(queries)), "gallery_ids": [-1] * gallery, "metric": metric}
        result = evaluate_retrieval(query, same, **names, gt_index=[[row] for row in right], jk_index=[[]] * queries)
        assert result.first_match.tolist() == [row + 1 for row in right]


@pytest.mark.parametrize("metric", METRICS)
def test_what_a_filter_leaves_of_a_gallery_keeps_its_order(metric: str) -> None:
    generator = torch.Generator().manual_seed(1)
    query, few = torch.randn(7, 48, generator=generator), torch.randn(5, 48, generator=generator)
    gallery = few[torch.randint(5, (60,), generator=generator)]
    names = {"query_ids": range(7), "metric": metric}
    whole, _ = rank_gallery(query, gallery, **names, gallery_ids=[-1] * 60, top_k=60)
    for step in (2, 3, 7):
        kept = torch.arange(0, 60, step)
        found, _ = rank_gallery(query, gallery[kept], **names, gallery_ids=[-1] * len(kept), top_k=len(kept))
        assert (found * step).tolist() == [[row for row in order if row % step == 0] for order in whole.tolist()]


@pytest.mark.parametrize("metric", METRICS)
def test_the_threshold_of_equal_pictures_is_one_score(metric: str) -> None:
    """All pictures are the same, so that every pair of them has one and the same score."""
    query, gallery = (torch.full((1, 37), 0.3).repeat(count, 1) for count in (9, 23))
    found = evaluate_open_set(
        query,
        gallery,
        query_ids=[row % 3 for row in range(9)],
        gallery_ids=[row % 4 for row in range(23)],
        metric=metric,
    )
    assert found.eer == pytest.approx(0.5) and {point.true_match_rate for point in found.match_points} == {0.0}


def test_large_whole_numbers_as_distances_are_no_ties() -> None:
    distances = torch.tensor([[2**24 + 1, 2**24]])
    names = {"query_ids": [0], "gallery_ids": [1, 0]}
    assert evaluate_distances(distances, **names).first_match.tolist() == [1]
    assert DistanceScores(distances, metric="steps").dtype == torch.float64


@drawn(80)
@given(
    numbers=st.integers(1, 12).flatmap(
        lambda dim: st.lists(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 2.0]), min_size=dim, max_size=dim), min_size=1)
    ),
    double=st.booleans(),
)
def test_equal_rows_are_found_exactly(numbers: list[list[float]], double: bool) -> None:
    matrix = torch.tensor(numbers, dtype=torch.float64 if double else torch.float32)
    found = EqualRows.of(matrix)
    assert found.first.tolist() == [numbers.index(row) for row in numbers]
    assert found.later.tolist() == [row for row, first in enumerate(found.first.tolist()) if row != first]


def test_rows_that_agree_in_most_columns_are_told_apart() -> None:
    matrix = torch.zeros(60, 500)
    matrix[range(60), range(1, 301, 5)] = 1.0
    assert torch.equal(EqualRows.of(matrix).first, torch.arange(60))
    both = torch.cat([matrix, matrix])
    assert torch.equal(EqualRows.of(both).first, torch.arange(60).repeat(2))


def test_the_number_of_queries_that_count_is_told() -> None:
    query, gallery = torch.eye(3), torch.eye(3)
    result = evaluate_retrieval(
        query, gallery, query_ids=[0, 1, 2], gallery_ids=[0, 1, 9], query_cameras=[1, 1, 1], gallery_cameras=[2, 1, 2]
    )
    assert result.num_valid_queries == 1  # one has junk only, one nothing
    assert result.num_valid_queries + result.queries_without_match == result.queries == 3
    assert result.as_dict()["num_valid_queries"] == 1


def images(seed: int, lengths: list[int], of: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [of[torch.randint(len(of), (length,), generator=generator)] for length in lengths]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", ["med", "mcd", "rscr"])
def test_tracks_of_the_same_images_are_equally_far(metric: str, dtype: torch.dtype) -> None:
    """Tracks of one picture seen any number of times, and tracks that have the same pictures in another order."""
    generator = torch.Generator().manual_seed(2)
    few = torch.randn(5, 33, generator=generator).to(dtype)
    lengths = [1, 7, 3, 3, 1, 12, 2, 7]
    same = [few[:1].repeat(length, 1) for length in lengths]
    mixed = [few[1:4], few[[3, 1, 2]], few[[2, 1, 3, 3, 1]], few[2:4]]
    query = [*images(3, [2, 5, 1], few), few[[0, 1, 1]], few[[1, 0, 1]], few[[0, 1]]]
    for aggregation in ("min", "mean", "med", "mean50", "med50") if metric != "rscr" else ("min",):
        distances = track_distances(query, [*same, *mixed], metric=metric, aggregation=aggregation)
        assert (distances[:, : len(same)] == distances[:, :1]).all()
        assert torch.equal(distances[:, len(same)], distances[:, len(same) + 1])
        assert torch.equal(distances[:, len(same)], distances[:, len(same) + 2])
        assert torch.equal(distances[3], distances[4])


def test_running_minima_ask_for_the_order_of_the_query_and_the_number_of_the_gallery() -> None:
    few = torch.eye(4)
    query, gallery = [few[[0, 1]], few[[1, 0]], few[[0, 1]]], [few[[0, 2]], few[[2, 0]], few[[0, 2, 2]]]
    distances = track_distances(query, gallery, metric="mcd", aggregation="mean", variant="released")
    assert torch.equal(distances[0], distances[2]) and torch.equal(distances[:, 0], distances[:, 1])
    assert not torch.equal(distances[0], distances[1]) and not torch.equal(distances[:, 0], distances[:, 2])


@drawn(40)
@given(sides=sides(), k=st.integers(1, 6))
def test_neighbours_are_those_of_exact_distances_between_distinct_pictures(sides, k: int) -> None:
    """Of copies the earlier are nearer, whatever blocks they are in, and a picture is nearest to itself."""
    query, gallery, query_names, gallery_names = sides
    both, names = torch.cat([query, gallery]).double(), [*query_names, *gallery_names]
    corner, count = torch.empty(len(query), len(gallery), dtype=torch.float64), min(k, len(both))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(neighbours, "_BLOCK", 3)
        found = nearest_neighbours(both, both.square().sum(dim=1), count=count, corner=corner)
    far = torch.tensor(
        [
            [0.0 if a == b else float((x - y).norm()) for b, y in zip(names, both, strict=True)]
            for a, x in zip(names, both, strict=True)
        ]
    )
    orders = [
        sorted(range(len(names)), key=lambda j, i=i: (j != i, float(far[i, j]), j))[:count] for i in range(len(names))
    ]
    assert found.rows.tolist() == orders
    for number, name in enumerate(gallery_names):
        assert torch.equal(corner[:, number], corner[:, gallery_names.index(name)])
    for number, name in enumerate(query_names):
        assert torch.equal(corner[number], corner[query_names.index(name)])


@pytest.mark.parametrize("rerank", [KReciprocal(k1=4, k2=2), KReciprocal(k1=20, k2=6), KReciprocal(k1=1, k2=1)])
@pytest.mark.parametrize("metric", METRICS)
def test_re_ranking_pictures_that_are_all_the_same_keeps_the_order_of_the_gallery(rerank, metric: str) -> None:
    generator = torch.Generator().manual_seed(4)
    for gallery in (1, 2, 9, 33):
        query, same = (
            torch.randn(3, 65, generator=generator),
            torch.randn(1, 65, generator=generator).repeat(gallery, 1),
        )
        names = {"query_ids": [0, 1, 2], "gallery_ids": [-1] * gallery, "metric": metric, "rerank": rerank}
        right = [gallery - 1, 0, gallery // 2]
        result = evaluate_retrieval(query, same, **names, gt_index=[[row] for row in right], jk_index=[[]] * 3)
        assert result.first_match.tolist() == [row + 1 for row in right]


@drawn(40)
@given(sides=sides(), top_k=st.integers(1, 5))
def test_equal_queries_are_expanded_alike_by_the_first_of_equals(sides, top_k: int) -> None:
    query, gallery, query_names, _ = sides
    moved = alpha_query_expansion(query, gallery, top_k=top_k)
    for number, name in enumerate(query_names):
        assert torch.equal(moved[number], moved[query_names.index(name)])
