"""k-reciprocal re-ranking against the paper's formulas written as loops over sets, and its building blocks."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import neighbours, rerank
from reid_lightning.ranking.neighbours import SmallestOfRows
from reid_lightning.ranking.rerank import KReciprocal, k_reciprocal_rerank


def reranked_by_loops(query: Tensor, gallery: Tensor, *, k1: int, k2: int, lambda_value: float) -> Tensor:
    """Equations 3, 4, 7, 10, 11 and 12 of Zhong et al. in float64, one picture after the other."""
    pictures = torch.cat([query, gallery]).double()
    everyone = range(len(pictures))
    distance = [
        [0.0 if i == j else float((pictures[i] - pictures[j]).square().sum()) for j in everyone] for i in everyone
    ]
    order = [sorted(everyone, key=lambda j, i=i: (j != i, distance[i][j], j)) for i in everyone]
    distance = [[d / max(row) if max(row) else 0.0 for d in row] for row in distance]

    @cache
    def reciprocal(i: int, k: int) -> frozenset[int]:
        return frozenset(j for j in order[i][: k + 1] if i in order[j][: k + 1])

    encodings = []
    for i in everyone:
        members = set(reciprocal(i, k1))
        for candidate in reciprocal(i, k1):
            others = reciprocal(candidate, round(k1 / 2))
            if len(others & reciprocal(i, k1)) > 2 / 3 * len(others):
                members |= others
        weights = [math.exp(-distance[i][j]) if j in members else 0.0 for j in everyone]
        encodings.append([weight / sum(weights) for weight in weights])
    nearest = [order[i][:k2] for i in everyone]
    encodings = [[sum(encodings[j][x] for j in near) / len(near) for x in everyone] for near in nearest]
    result = torch.empty(len(query), len(gallery), dtype=torch.float64)
    for q in range(len(query)):
        for g in range(len(gallery)):
            pairs = list(zip(encodings[q], encodings[len(query) + g], strict=True))
            jaccard = 1 - sum(map(min, pairs)) / sum(map(max, pairs))
            result[q, g] = (1 - lambda_value) * jaccard + lambda_value * distance[q][len(query) + g]
    return result


def draw(queries: int, gallery: int, *, dim: int = 8, identities: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Clusters that overlap, so that neighbourhoods are neither everything nor nothing."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(identities, dim, generator=generator)
    vectors = torch.randn(queries + gallery, dim, generator=generator) * 0.5
    vectors += centres[torch.arange(queries + gallery) % identities]
    return vectors[:queries], vectors[queries:]


def draw_tied(queries: int, gallery: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points of a small grid: exact duplicates, and many exact ties of distance."""
    points = torch.randint(0, 3, (queries + gallery, 3), generator=torch.Generator().manual_seed(seed)).float()
    return points[:queries], points[queries:]


@pytest.fixture(params=[1024, 7], ids=["one block", "blocks of 7"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Block sizes, small enough that the last block, and every chunk, is a part of one."""
    monkeypatch.setattr(neighbours, "_BLOCK", request.param)
    if request.param < 100:
        monkeypatch.setattr(rerank, "_ENTRIES", 500)
    return request.param


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"),
    [(20, 6, 0.3), (5, 3, 0.3), (6, 1, 0.5), (7, 2, 0.0), (3, 9, 0.3), (1, 1, 0.3), (10, 4, 0.7)],
)
def test_it_is_the_papers_formula(block: int, k1: int, k2: int, lambda_value: float) -> None:
    query, gallery = draw(9, 38)
    result = k_reciprocal_rerank(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
    expected = reranked_by_loops(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_ties_and_duplicates_go_in_order_whatever_the_blocks(block: int, seed: int) -> None:
    query, gallery = draw_tied(8, 40, seed=seed)
    result = k_reciprocal_rerank(query, gallery, k1=6, k2=3)
    expected = reranked_by_loops(query, gallery, k1=6, k2=3, lambda_value=0.3)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("queries", "gallery"), [(1, 1), (1, 12), (12, 1), (3, 4)])
def test_neighbours_that_do_not_exist_do_not_count(block: int, queries: int, gallery: int) -> None:
    sides = draw(queries, gallery)
    result = k_reciprocal_rerank(*sides, k1=20, k2=15)
    expected = reranked_by_loops(*sides, k1=20, k2=15, lambda_value=0.3)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5)


def test_two_pictures_by_hand() -> None:
    """Both are neighbours of both: V(q) = (1, e^-1) / (1 + e^-1), V(g) mirrored; sum of minima 2 e^-1 / (1 + e^-1)."""
    shared = 2 * math.exp(-1) / (1 + math.exp(-1))
    result = k_reciprocal_rerank(torch.tensor([[0.0]]), torch.tensor([[5.0]]), k1=1, k2=1, lambda_value=0.25)
    assert result.item() == pytest.approx(0.75 * (1 - shared / (2 - shared)) + 0.25 * 1, abs=1e-6)


def test_pictures_that_are_all_the_same_are_at_no_distance_or_share_nothing() -> None:
    """A collapsed model: with more duplicates than neighbours, only the first are everybody's neighbours."""
    query, gallery = torch.ones(2, 4), torch.ones(30, 4)
    result = k_reciprocal_rerank(query, gallery, k1=4, k2=1)
    expected = reranked_by_loops(query, gallery, k1=4, k2=1, lambda_value=0.3)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)
    assert result[0, 0] < 1e-6 and result[0, -1] == pytest.approx(0.7)


def test_it_moves_a_picture_whose_neighbours_are_the_querys() -> None:
    """The query's vehicle bridges from 0 to 2.2 in small steps; a stranger sits nearer than its far end, alone."""
    query = torch.tensor([[0.0, 0.0]])
    chain = [[step * 0.2, 0.0] for step in range(1, 12)]
    gallery = torch.tensor([*chain, [0.0, -2.0], [0.0, -2.5], [0.0, -3.0], [0.0, -3.5], [0.0, -4.0], [0.0, -4.5]])
    first = torch.cdist(query, gallery)[0]
    again = k_reciprocal_rerank(query, gallery, k1=6, k2=3)[0]
    assert first[10] > first[11]
    assert again[10] < again[11]


def test_cosine_is_euclidean_on_vectors_of_length_one() -> None:
    query, gallery = draw(6, 30)
    result = k_reciprocal_rerank(query * torch.rand(6, 1).add(0.5), gallery * 3, k1=5, k2=2, metric="cosine")
    unit = [torch.nn.functional.normalize(side) for side in (query, gallery)]
    torch.testing.assert_close(result, k_reciprocal_rerank(*unit, k1=5, k2=2), rtol=0, atol=1e-5)


def test_a_zero_vector_is_equally_far_from_everything_by_cosine() -> None:
    """As far as what is at a right angle, d^2 = 2; the farthest picture looks the other way, d^2 = 4."""
    query = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    gallery = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    result = k_reciprocal_rerank(query, gallery, k1=2, lambda_value=1.0, metric="cosine")
    torch.testing.assert_close(result, torch.tensor([[0.0, 0.5, 0.5, 1.0], [1.0, 1.0, 1.0, 1.0]]))


@pytest.mark.parametrize("lambda_value", [0.0, 1.0])
def test_rounding_makes_no_distance_negative(lambda_value: float) -> None:
    query, gallery = draw(20, 60, identities=40)
    gallery[:20] = query
    result = k_reciprocal_rerank(query + 30, gallery + 30, k1=6, k2=3, lambda_value=lambda_value)
    assert result.min() >= 0


def test_lambda_one_is_the_first_distance_over_its_maximum() -> None:
    query, gallery = draw(4, 25)
    result = k_reciprocal_rerank(query, gallery, lambda_value=1.0)
    distances = torch.cdist(query.double(), torch.cat([query, gallery]).double()).square()
    torch.testing.assert_close(
        result.double(), distances[:, 4:] / distances.max(dim=1, keepdim=True).values, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_computed_in_float32(dtype: torch.dtype) -> None:
    query, gallery = (side.to(dtype) for side in draw(5, 30))
    torch.testing.assert_close(
        k_reciprocal_rerank(query, gallery, k1=5), k_reciprocal_rerank(query.float(), gallery.float(), k1=5)
    )


def test_float64_stays_float64_in_the_computing() -> None:
    """Far from the origin float32 cannot tell these pictures apart."""
    query, gallery = (side.double() * 1e-4 + 100 for side in draw(5, 30))
    result = k_reciprocal_rerank(query, gallery, k1=5, k2=3)
    expected = reranked_by_loops(query - 100, gallery - 100, k1=5, k2=3, lambda_value=0.3)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-3)


def test_autocast_and_training_switches_change_nothing() -> None:
    query, gallery = draw(5, 30, dim=64)
    plain = k_reciprocal_rerank(query, gallery, k1=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(k_reciprocal_rerank(query, gallery, k1=5), plain, rtol=0, atol=0)


def test_the_embeddings_are_not_changed() -> None:
    query, gallery = draw(5, 30)
    before = query.clone(), gallery.clone()
    k_reciprocal_rerank(query.requires_grad_(), gallery, k1=5, metric="cosine")
    assert torch.equal(query, before[0]) and torch.equal(gallery, before[1])


def test_settings_are_passed_around_and_described() -> None:
    query, gallery = draw(5, 30)
    settings = KReciprocal(k1=5, k2=2, lambda_value=0.5)
    expected = k_reciprocal_rerank(query, gallery, k1=5, k2=2, lambda_value=0.5, metric="cosine")
    assert torch.equal(settings(query, gallery, metric="cosine"), expected)
    assert settings.describe() == "k-reciprocal re-ranking (k1=5, k2=2, lambda=0.5)"
    assert KReciprocal().describe() == "k-reciprocal re-ranking (k1=20, k2=6, lambda=0.3)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 0}, "k1 is 0"),
        ({"k2": -1}, "k2 is -1"),
        ({"lambda_value": 1.5}, "lambda_value is 1.5"),
        ({"lambda_value": math.nan}, "lambda_value is nan"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        KReciprocal(**settings)
    with pytest.raises(ReIDError, match=message):
        k_reciprocal_rerank(*draw(2, 5), **settings)


def test_embeddings_that_do_not_fit_are_refused() -> None:
    query, gallery = draw(3, 10)
    with pytest.raises(ReIDError, match="metric is 'manhattan'"):
        k_reciprocal_rerank(query, gallery, metric="manhattan")
    with pytest.raises(ReIDError, match="must come from one model"):
        k_reciprocal_rerank(query, gallery[:, :5])
    with pytest.raises(ReIDError, match=r"gallery_embeddings is \(0, 8\)"):
        k_reciprocal_rerank(query, gallery[:0])
    gallery[4, 2] = torch.nan
    with pytest.raises(ReIDError, match="gallery_embeddings holds NaN or infinity, in row 4"):
        k_reciprocal_rerank(query, gallery)


@pytest.mark.parametrize("width", [1, 3, 8, 50])
@pytest.mark.parametrize("count", [1, 4, 50])
def test_the_smallest_of_rows_are_those_of_a_stable_sort(width: int, count: int) -> None:
    matrix = torch.randint(0, 9, (11, 50), generator=torch.Generator().manual_seed(0)).float()
    smallest = SmallestOfRows(11, count, like=matrix)
    for rows in torch.arange(11).split(4):
        for column in range(0, 50, width):
            smallest.offer(matrix[rows, column : column + width], row=int(rows[0]), column=column)
    values, columns = matrix.sort(dim=1, stable=True)
    assert torch.equal(smallest.values, values[:, :count])
    assert torch.equal(smallest.columns, columns[:, :count])
