"""The best matches of each query: in the order of a stable sort, and those that were scored."""

import pytest
import torch
from slow_ranking import small_integers

from reid_lightning.ranking import evaluate_retrieval, problem, rank_gallery


@pytest.mark.parametrize("top_k", [1, 3, 7, 40])
def test_listed_matches_follow_a_stable_sort(top_k, monkeypatch):
    monkeypatch.setattr(problem, "_CHUNK_ELEMENTS", 100)
    generator = torch.Generator().manual_seed(top_k)
    query, gallery = small_integers(generator, 9, 2), small_integers(generator, 30, 2)
    ids = {"query_ids": [0] * 9, "gallery_ids": [row % 2 for row in range(30)]}
    junk = [[row for row in range(30) if (row + number) % 4 == 0] for number in range(8)] + [list(range(28))]
    rows, scores = rank_gallery(query, gallery, **ids, jk_index=junk, metric="euclidean", top_k=top_k)
    assert rows.shape == scores.shape == (9, min(top_k, 30))
    for number in range(9):
        distances = ((gallery - query[number]) ** 2).sum(1).sqrt().tolist()
        kept = sorted(set(range(30)) - set(junk[number]), key=lambda row: (distances[row], row))[:top_k]
        filled = len(kept)
        assert rows[number].tolist() == kept + [-1] * (rows.shape[1] - filled)
        assert scores[number][:filled].tolist() == pytest.approx([-distances[row] for row in kept])
        assert scores[number][filled:].isneginf().all()


@pytest.mark.parametrize("seed", range(4))
def test_listed_matches_are_those_that_were_scored(seed):
    generator = torch.Generator().manual_seed(seed)
    query, gallery = small_integers(generator, 9, 3), small_integers(generator, 30, 3)
    ids = {
        "query_ids": torch.randint(0, 4, (9,), generator=generator),
        "gallery_ids": torch.randint(0, 4, (30,), generator=generator),
        "query_cameras": torch.randint(0, 2, (9,), generator=generator),
        "gallery_cameras": torch.randint(0, 2, (30,), generator=generator),
    }
    rows, scores = rank_gallery(query, gallery, **ids, metric="euclidean", top_k=30)
    result = evaluate_retrieval(query, gallery, **ids, metric="euclidean")
    for number in range(9):
        kept = rows[number][rows[number] >= 0]
        junk = (ids["gallery_ids"] == ids["query_ids"][number]) & (
            ids["gallery_cameras"] == ids["query_cameras"][number]
        )
        assert sorted(kept.tolist()) == (~junk).nonzero().flatten().tolist()
        distances = (gallery[kept] - query[number]).norm(dim=1)
        torch.testing.assert_close(scores[number][: len(kept)], -distances)
        right = ids["gallery_ids"][kept] == ids["query_ids"][number]
        places = right.nonzero().flatten() + 1
        expected = (torch.arange(1, len(places) + 1) / places).double().mean().item()
        assert result.average_precision[number].item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_cosine_is_free_of_length_and_equals_normalised_products():
    generator = torch.Generator().manual_seed(5)
    query, gallery = torch.randn(20, 16, generator=generator), torch.randn(90, 16, generator=generator)
    ids = {"query_ids": [row % 4 for row in range(20)], "gallery_ids": [row % 5 for row in range(90)]}
    lengths = torch.logspace(-3, 6, 90)[:, None]
    stretched = evaluate_retrieval(1e-4 * query, lengths * gallery, **ids)
    assert torch.equal(stretched.average_precision, evaluate_retrieval(query, gallery, **ids).average_precision)
    rows, scores = rank_gallery(query, lengths * gallery, **ids, top_k=3)
    unit = torch.nn.functional.normalize(query), torch.nn.functional.normalize(gallery)
    expected = (unit[0] @ unit[1].T).topk(3)
    assert torch.equal(rows, expected.indices)
    assert (scores - expected.values).abs().max() < 1e-6


def test_training_settings_do_not_touch_the_precision():
    generator = torch.Generator().manual_seed(7)
    query, gallery = torch.randn(40, 64, generator=generator), torch.randn(300, 64, generator=generator)
    ids = {"query_ids": [row % 8 for row in range(40)], "gallery_ids": [row % 8 for row in range(300)]}
    expected = rank_gallery(query, gallery, **ids, top_k=5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            came = rank_gallery(query, gallery, **ids, top_k=5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert all(torch.equal(one, other) for one, other in zip(came, expected, strict=True))
