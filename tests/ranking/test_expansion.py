"""Query expansion against the formulas written as loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import expansion
from reid_lightning.ranking.expansion import QueryExpansion, alpha_query_expansion, average_query_expansion


def expanded_by_loops(query: Tensor, gallery: Tensor, *, top_k: int, alpha: float) -> Tensor:
    """One query after the other, in float64."""

    def unit(vector: Tensor) -> Tensor:
        length = float(vector.norm())
        return vector / length if length else vector

    rows = []
    for q in query.double():
        similarity = [float(unit(q) @ unit(g)) for g in gallery.double()]
        best = sorted(range(len(gallery)), key=lambda g, s=similarity: (-s[g], g))[:top_k]
        moved = unit(q)
        for g in best:
            moved = moved + max(similarity[g], 0.0) ** alpha * unit(gallery[g].double())
        rows.append(unit(moved))
    return torch.stack(rows)


def draw(queries: int = 7, gallery: int = 31, dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(queries, dim, generator=generator), 3 * torch.randn(gallery, dim, generator=generator)


@pytest.mark.parametrize("chunk", [1 << 22, 70], ids=["one chunk", "two queries a chunk"])
@pytest.mark.parametrize("top_k", [1, 5, 31, 100])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_it_is_the_formula(monkeypatch: pytest.MonkeyPatch, chunk: int, top_k: int, alpha: float) -> None:
    monkeypatch.setattr(expansion, "_CHUNK_ELEMENTS", chunk)
    query, gallery = draw()
    result = alpha_query_expansion(query, gallery, top_k=top_k, alpha=alpha)
    assert result.dtype == torch.float32
    expected = expanded_by_loops(query, gallery, top_k=top_k, alpha=alpha)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


def test_two_pictures_by_hand() -> None:
    """cos = 0.6, weight 0.6^3 = 0.216: (1 + 0.216 * 0.6, 0.216 * 0.8) = (1.1296, 0.1728); the average is (1.6, 0.8)."""
    query, gallery = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 4.0], [-1.0, 0.0]])
    moved = alpha_query_expansion(query, gallery, top_k=2, alpha=3.0)
    torch.testing.assert_close(moved, torch.tensor([[1.1296, 0.1728]]) / math.hypot(1.1296, 0.1728))
    average = average_query_expansion(query, gallery, top_k=1)
    torch.testing.assert_close(average, torch.tensor([[1.6, 0.8]]) / math.hypot(1.6, 0.8))


def test_the_average_takes_all_best_matches_alike() -> None:
    query, gallery = draw()
    result = average_query_expansion(query, gallery, top_k=20)
    expected = expanded_by_loops(query, gallery, top_k=20, alpha=0)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


def test_of_equally_similar_pictures_the_earlier_are_taken() -> None:
    query = torch.tensor([[1.0, 0.0, 0.0]])
    gallery = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    result = average_query_expansion(query, gallery, top_k=2)
    half = math.sqrt(0.5)
    torch.testing.assert_close(result, torch.nn.functional.normalize(torch.tensor([[1 + 2 * half, half, half]])))


def test_zero_vectors_move_nothing_and_stay_zero() -> None:
    query, gallery = draw()
    query[2] = 0
    gallery[:5] = 0
    result = alpha_query_expansion(query, gallery, top_k=31, alpha=3.0)
    assert not result[2].any()
    expected = alpha_query_expansion(query, gallery[5:], top_k=26, alpha=3.0)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_computed_in_float32(dtype: torch.dtype) -> None:
    query, gallery = (side.to(dtype) for side in draw())
    torch.testing.assert_close(
        alpha_query_expansion(query, gallery), alpha_query_expansion(query.float(), gallery.float())
    )


def test_float64_stays_float64() -> None:
    query, gallery = (side.double() for side in draw())
    result = alpha_query_expansion(query, gallery, top_k=4, alpha=2.0)
    expected = expanded_by_loops(query, gallery, top_k=4, alpha=2.0)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)


def test_settings_are_passed_around_and_described() -> None:
    query, gallery = draw()
    assert torch.equal(QueryExpansion(top_k=4)(query, gallery), alpha_query_expansion(query, gallery, top_k=4))
    average = QueryExpansion("average", top_k=4)
    assert torch.equal(average(query, gallery), average_query_expansion(query, gallery, top_k=4))
    assert QueryExpansion().describe() == "alpha query expansion (top 10, alpha=3)"
    assert average.describe() == "average query expansion (top 4)"


def test_the_embeddings_are_not_changed() -> None:
    query, gallery = draw()
    before = query.clone(), gallery.clone()
    alpha_query_expansion(query.requires_grad_(), gallery)
    assert torch.equal(query, before[0]) and torch.equal(gallery, before[1])


def test_mistakes_are_refused() -> None:
    query, gallery = draw()
    with pytest.raises(ReIDError, match="top_k is 0"):
        average_query_expansion(query, gallery, top_k=0)
    with pytest.raises(ReIDError, match="alpha is -1"):
        alpha_query_expansion(query, gallery, alpha=-1)
    with pytest.raises(ReIDError, match="alpha is nan"):
        QueryExpansion(alpha=math.nan)
    with pytest.raises(ReIDError, match="method is 'mean'"):
        QueryExpansion("mean")
    with pytest.raises(ReIDError, match="must come from one model"):
        alpha_query_expansion(query, gallery[:, :3])
    query[3, 1] = torch.inf
    with pytest.raises(ReIDError, match="query_embeddings holds NaN or infinity, in row 3"):
        alpha_query_expansion(query, gallery)
