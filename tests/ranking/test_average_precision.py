"""Average precision, CMC and mINP against slow loops and by hand."""

import json

import numpy as np
import pytest
import torch
from slow_ranking import slow_query, small_integers

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import KReciprocal, evaluate_distances, evaluate_retrieval, problem
from reid_lightning.ranking import ranks as places
from reid_lightning.ranking.result import named_shares


def slow_evaluation(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, ap):
    results = []
    for row, one in enumerate(query):
        scores = (-((gallery - one) ** 2).sum(1)).tolist()
        right = [identity == query_ids[row] for identity in gallery_ids]
        cameras = gallery_cameras if gallery_cameras is not None else [None] * len(gallery_ids)
        junk = [
            query_cameras is not None and match and camera == query_cameras[row]
            for match, camera in zip(right, cameras, strict=True)
        ]
        results.append(slow_query(scores, right, junk, ap))
    return results


WAYS = ["counting", "sorting", "on another device"]


def choose_way(way, monkeypatch):
    """Which of the ways to find places is taken, whatever the sizes."""
    monkeypatch.setattr(places, "_SORT", 0 if way == "sorting" else 10**9)
    if way == "on another device":
        monkeypatch.setattr(places, "_by_counting", places._by_sorting)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ap", ["step", "trapezoid"])
@pytest.mark.parametrize("dim", [2, 40])
@pytest.mark.parametrize("way", WAYS)
def test_equals_the_slow_loop_with_ties_junk_and_unmatched_queries(seed, ap, dim, way, monkeypatch):
    monkeypatch.setattr(problem, "_CHUNK_ELEMENTS", 400)  # 3 chunks of at most 6 queries
    choose_way(way, monkeypatch)
    generator = torch.Generator().manual_seed(seed)
    query, gallery = small_integers(generator, 17, dim), small_integers(generator, 60, dim)
    query_ids = torch.randint(0, 9, (17,), generator=generator).tolist()
    gallery_ids = torch.randint(0, 7, (60,), generator=generator).tolist()
    with_cameras = seed % 2 == 0
    query_cameras = torch.randint(0, 3, (17,), generator=generator).tolist() if with_cameras else None
    gallery_cameras = torch.randint(0, 3, (60,), generator=generator).tolist() if with_cameras else None
    expected = slow_evaluation(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, ap)
    result = evaluate_retrieval(
        query,
        gallery,
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
        metric="euclidean",
        ap=ap,
        ranks=(1, 3, 5),
    )
    matched = [one for one in expected if one is not None]
    assert result.queries_without_match == len(expected) - len(matched)
    assert result.mAP == pytest.approx(np.mean([one[0] for one in matched]), abs=1e-12)
    assert result.mINP == pytest.approx(np.mean([one[2] for one in matched]), abs=1e-12)
    for rank in (1, 3, 5):
        assert result.cmc[rank] == pytest.approx(np.mean([one[1] <= rank for one in matched]), abs=1e-12)
    assert result.queries - result.queries_without_match == len(matched)
    assert result.first_match.tolist() == [0 if one is None else one[1] for one in expected]
    per_query = [np.nan if one is None else one[0] for one in expected]
    np.testing.assert_allclose(result.average_precision.numpy(), per_query, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_a_large_gallery_with_right_answers_near_the_top_equals_the_slow_loop(way, monkeypatch):
    # Few pictures reach the score of the last right answer: only those are looked at.
    choose_way(way, monkeypatch)
    generator = torch.Generator().manual_seed(0)
    gallery_ids = torch.randint(0, 40, (1500,), generator=generator).tolist()
    query_ids = list(range(30))
    distances = torch.randint(0, 60, (30, 1500), generator=generator)
    right = torch.tensor(query_ids)[:, None] == torch.tensor(gallery_ids)
    distances[right] = distances[right] // 10  # ties among right answers, and with wrong ones
    junk = [[row for row in range(1500) if (row + query) % 7 == 0] for query in range(30)]
    result = evaluate_distances(distances, query_ids=query_ids, gallery_ids=gallery_ids, jk_index=junk)
    for query in range(30):
        is_junk = [row in set(junk[query]) for row in range(1500)]
        expected = slow_query((-distances[query]).tolist(), right[query].tolist(), is_junk, "step")
        assert result.average_precision[query].item() == pytest.approx(expected[0], abs=1e-12)
        assert result.first_match[query].item() == expected[1]
        assert result.inverse_negative_penalty[query].item() == pytest.approx(expected[2], abs=1e-12)


def test_worked_out_by_hand():
    # Ranking of the only query: right, wrong, right, wrong, right -> precisions 1/1, 2/3, 3/5.
    gallery = torch.tensor([[5.0, 0.0], [4.0, 3.0], [3.0, 4.0], [0.0, 5.0], [-3.0, 4.0]])
    options = {"query_ids": ["a"], "gallery_ids": ["a", "b", "a", "b", "a"]}
    step = evaluate_retrieval(torch.tensor([[2.0, 0.0]]), gallery, **options)
    assert step.mAP == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert step.mINP == pytest.approx(3 / 5)
    assert step.cmc == {1: 1.0, 5: 1.0, 10: 1.0}
    trapezoid = evaluate_retrieval(torch.tensor([[2.0, 0.0]]), gallery, **options, ap="trapezoid")
    # One place earlier: 1 (by definition), 1/2, 2/4.
    assert trapezoid.mAP == pytest.approx((1 + (2 / 3 + 1 / 2) / 2 + (3 / 5 + 2 / 4) / 2) / 3)


def test_a_negative_score_is_still_a_place():
    # torchmetrics' own retrieval metric calls this 1.0, because it drops scores of 0 and below.
    gallery = torch.tensor([[0.9, 0.43589], [0.5, 0.866025], [-0.1, 0.994987]])
    result = evaluate_retrieval(torch.tensor([[1.0, 0.0]]), gallery, query_ids=[1], gallery_ids=[1, 0, 1])
    assert result.mAP == pytest.approx(0.8333333)


def test_index_files_give_what_the_camera_rule_gives():
    generator = torch.Generator().manual_seed(3)
    query, gallery = torch.randn(20, 8, generator=generator), torch.randn(80, 8, generator=generator)
    query_ids, gallery_ids = [row % 5 for row in range(20)], [row % 6 for row in range(80)]
    query_cameras, gallery_cameras = [row % 3 for row in range(20)], [row % 4 for row in range(80)]
    ids = {"query_ids": query_ids, "gallery_ids": gallery_ids}
    gt, jk = [], []
    for identity, camera in zip(query_ids, query_cameras, strict=True):
        same = [row for row in range(80) if gallery_ids[row] == identity]
        gt.append([row for row in same if gallery_cameras[row] != camera])
        jk.append([row for row in same if gallery_cameras[row] == camera])
    by_rule = evaluate_retrieval(query, gallery, **ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras)
    by_index = evaluate_retrieval(query, gallery, **ids, gt_index=gt, jk_index=jk)
    assert torch.equal(by_rule.average_precision, by_index.average_precision)
    assert (by_rule.junk, by_index.junk) == ("same identity and same camera", "jk_index")


def test_when_all_scores_tie_the_order_of_the_gallery_decides():
    for metric, query in (("cosine", torch.ones(1, 3)), ("euclidean", torch.zeros(1, 3))):
        names = {"query_ids": ("x",), "gallery_ids": ("y", "x")}
        assert evaluate_retrieval(query, torch.ones(2, 3), **names, metric=metric).mAP == 0.5


def test_a_reranking_decides_the_order_and_is_named():
    def reversed_order(query, gallery, *, metric):
        assert metric == "euclidean"
        return -torch.cdist(query, gallery)

    query, gallery = torch.tensor([[0.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    names = {"query_ids": ["a"], "gallery_ids": ["a", "b", "c"]}
    assert evaluate_retrieval(query, gallery, **names, metric="euclidean").mAP == 1
    result = evaluate_retrieval(query, gallery, **names, metric="euclidean", rerank=reversed_order)
    assert result.mAP == pytest.approx(1 / 3)
    assert result.metric == "euclidean, reversed_order"
    with pytest.raises(ReIDError, match="none of 1 query has"):
        evaluate_retrieval(query + 1, gallery, query_ids=["z"], gallery_ids=["a", "b", "c"], rerank=KReciprocal(k1=1))


def test_confidence_intervals_surround_the_values_and_draw_vehicles():
    generator = torch.Generator().manual_seed(0)
    distances = torch.rand(60, 200, generator=generator)
    names = {"query_ids": [row % 6 for row in range(60)], "gallery_ids": [row % 6 for row in range(200)]}
    result = evaluate_distances(distances, **names)
    intervals = result.confidence_intervals()
    assert list(intervals) == list(result.values()) == ["mAP", "rank-1", "rank-5", "rank-10", "mINP"]
    assert result.values() == named_shares(json.loads(json.dumps(result.as_dict())))
    assert result.values() == pytest.approx({name: column.mean().item() for name, column in result.per_query().items()})
    assert intervals["mAP"][0] < result.mAP < intervals["mAP"][1]
    assert result.confidence_intervals() == intervals
    narrower = result.confidence_intervals(level=0.5)["mAP"]
    assert intervals["mAP"][0] < narrower[0] < narrower[1] < intervals["mAP"][1]
    together = evaluate_distances(distances[:1].expand(60, -1), query_ids=[0] * 60, gallery_ids=names["gallery_ids"])
    assert together.confidence_intervals()["mAP"] == pytest.approx((together.mAP, together.mAP))  # one vehicle only


def test_real_index_files_equal_the_rule_at_veri_size(shared_data):
    from reid_lightning.data.readers.veri import parse_name, read_index, read_name_list

    labels = shared_data / "veri_labels"
    names = {part: read_name_list(labels / f"{part}_list.txt") for part in ("query", "test")}
    parsed = {part: [parse_name(name, labels) for name in values] for part, values in names.items()}
    ids = {
        "query_ids": [identity for identity, _ in parsed["query"]],
        "gallery_ids": [identity for identity, _ in parsed["test"]],
    }
    cameras = {
        "query_cameras": [camera for _, camera in parsed["query"]],
        "gallery_cameras": [camera for _, camera in parsed["test"]],
    }
    sizes = {"queries": len(names["query"]), "gallery": len(names["test"])}
    index = {f"{kind}_index": read_index(labels / f"{kind}_index.txt", **sizes) for kind in ("gt", "jk")}
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(sizes["queries"], 8, generator=generator)
    gallery = torch.randn(sizes["gallery"], 8, generator=generator)
    by_rule = evaluate_retrieval(query, gallery, **ids, **cameras)
    by_index = evaluate_retrieval(query, gallery, **ids, **index)
    assert by_rule.queries_without_match == 0
    assert by_rule.mAP == by_index.mAP
    assert by_rule.cmc == by_index.cmc
