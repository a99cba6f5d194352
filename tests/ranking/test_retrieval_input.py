"""What an evaluation of rankings takes and what it refuses, by name and row."""

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import evaluate_distances, evaluate_retrieval


def test_zero_vectors_have_no_cosine_and_are_named():
    names = {"query_ids": [0] * 3, "gallery_ids": [0] * 9}
    ones = torch.ones(3, 4)
    with pytest.raises(ReIDError, match="query_embeddings holds zero vectors, in row 1: "):
        evaluate_retrieval(ones * torch.tensor([[1], [0], [2]]), torch.ones(9, 4), **names)
    gallery = torch.ones(9, 4)
    gallery[[0, 2, 3, 4, 6, 7, 8]] = 0
    with pytest.raises(ReIDError, match="gallery_embeddings holds zero vectors, in rows 0, 2, 3, 4, 6 and 2 more: "):
        evaluate_retrieval(ones, gallery, **names)
    assert evaluate_retrieval(ones, gallery, **names, metric="euclidean").mAP == 1
    gallery[1:3, 0] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(ReIDError, match="gallery_embeddings holds NaN or infinity, in rows 1, 2; "):
        evaluate_retrieval(ones, gallery, **names)


@pytest.mark.parametrize("distances", [torch.zeros(0, 3), torch.zeros(3), torch.full((2, 3), torch.nan), [[1.0]]])
def test_bad_distances_are_named(distances):
    with pytest.raises(ReIDError, match="distances"):
        evaluate_distances(distances, query_ids=[1, 2], gallery_ids=[1, 2, 3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_ranked_in_float32_or_better(dtype):
    generator = torch.Generator().manual_seed(6)
    query, gallery = (torch.randn(count, 16, generator=generator).to(dtype) for count in (10, 50))
    ids = {"query_ids": [row % 4 for row in range(10)], "gallery_ids": [row % 5 for row in range(50)]}
    came = evaluate_retrieval(query, gallery, **ids)
    expected = evaluate_retrieval(query.double(), gallery.double(), **ids)
    assert torch.equal(came.average_precision, expected.average_precision)


def test_unmatched_queries_are_told():
    result = evaluate_retrieval(torch.eye(2), torch.eye(2), query_ids=[1, 2], gallery_ids=[1, 3])
    assert result.queries_without_match == 1
    assert "1 without a match" in result.describe()
    assert result.as_dict()["queries_without_match"] == 1
    with pytest.raises(ReIDError, match="none of 2 queries"):
        evaluate_retrieval(torch.eye(2), torch.eye(2), query_ids=[1, 2], gallery_ids=[3, 3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query_embeddings": torch.ones(2, 3)}, "one model"),
        ({"query_embeddings": torch.full((2, 2), torch.nan)}, "query_embeddings holds NaN"),
        ({"gallery_embeddings": torch.empty(0, 2)}, "gallery_embeddings"),
        (
            {"gallery_embeddings": torch.tensor([[1.0, 0.0], [3e38, 0.0]])},
            "too large for torch.float32, in row 1;",
        ),
        ({"gallery_embeddings": [[1.0, 0.0]]}, "gallery_embeddings is list"),
        ({"query_ids": ["1", "2"]}, "'1' and gallery_ids 1, which never match"),
        ({"query_ids": [1]}, "query_ids has 1 entries for 2"),
        ({"query_cameras": [1, 2]}, "gallery_cameras is missing"),
        ({"query_cameras": [1, None], "gallery_cameras": [1, 2]}, "None"),
        ({"gt_index": [[0]]}, "gt_index has 1 rows"),
        ({"jk_index": [[0], [2]]}, "jk_index holds row 2"),
        ({"metric": "manhattan"}, "metric"),
        ({"ap": "area"}, "ap is"),
        ({"ranks": [0]}, "ranks"),
    ],
)
def test_bad_input_is_named(changes, words):
    arguments = {
        "query_embeddings": torch.eye(2),
        "gallery_embeddings": torch.eye(2),
        "query_ids": [1, 2],
        "gallery_ids": [1, 2],
        **changes,
    }
    with pytest.raises(ReIDError, match=words):
        evaluate_retrieval(**arguments)
