import json

import numpy as np
import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranking import evaluate_retrieval, problem
from reid_lightning.ranking.curves import camera_pair_map, cmc_curve, precision_recall_curve
from reid_lightning.ranking.problem import RankingProblem
from reid_lightning.ranking.scores import DistanceScores, EmbeddingScores


def drawn(seed, *, dim=3, queries=23, gallery=70):
    """Integer embeddings, so that ties abound, identities and cameras; some queries have no match."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(high, count):
        return torch.randint(0, high, (count,), generator=generator).tolist()

    embeddings = [torch.randint(-2, 3, (count, dim), generator=generator).double() for count in (queries, gallery)]
    ids = {"query_ids": numbers(8, queries), "gallery_ids": numbers(6, gallery)}
    return *embeddings, ids, [f"c{number}" for number in numbers(4, queries)], [f"c{n}" for n in numbers(5, gallery)]


@pytest.fixture
def several_chunks(monkeypatch):
    monkeypatch.setattr(problem, "_CHUNK_ELEMENTS", 400)  # of at most 5 queries


@pytest.mark.parametrize("junk", [True, False])
@pytest.mark.parametrize("ap", ["step", "trapezoid"])
@pytest.mark.parametrize("seed", range(4))
def test_camera_pairs_are_evaluations_of_restricted_sets(seed, ap, junk, several_chunks):
    query, gallery, ids, query_cameras, gallery_cameras = drawn(seed)
    cameras = {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras}
    scores = EmbeddingScores(query, gallery, metric="euclidean")
    pairs = camera_pair_map(RankingProblem(scores, **ids, **(cameras if junk else {})), **cameras, ap=ap)
    assert pairs.query_cameras == ("c0", "c1", "c2", "c3")
    assert pairs.gallery_cameras == ("c0", "c1", "c2", "c3", "c4")
    assert (pairs.protocol, pairs.metric, pairs.ap) == ("image to image", "euclidean", ap)
    assert pairs.junk == ("same identity and same camera" if junk else "none")
    for row, query_camera in enumerate(pairs.query_cameras):
        for column, gallery_camera in enumerate(pairs.gallery_cameras):
            asked = [number for number, camera in enumerate(query_cameras) if camera == query_camera]
            kept = [number for number, camera in enumerate(gallery_cameras) if camera == gallery_camera]
            options = {
                "query_ids": [ids["query_ids"][number] for number in asked],
                "gallery_ids": [ids["gallery_ids"][number] for number in kept],
            }
            if junk:
                options |= {
                    "query_cameras": [query_camera] * len(asked),
                    "gallery_cameras": [gallery_camera] * len(kept),
                }
            try:
                alone = evaluate_retrieval(query[asked], gallery[kept], **options, metric="euclidean", ap=ap)
            except ReIDError:
                assert pairs.mAP[row, column].isnan()
                assert pairs.queries[row, column] == 0
                continue
            assert pairs.mAP[row, column].item() == pytest.approx(alone.mAP, abs=1e-12)
            assert pairs.queries[row, column] == alone.queries - alone.queries_without_match
    assert not junk or (pairs.queries.diagonal() == 0).all()  # the camera rule leaves nothing to find there
    assert junk or (pairs.queries.diagonal() > 0).any()


def test_camera_pairs_worked_out_by_hand():
    # Query "a" of c1 ranks: right c2, wrong c3, wrong c2, right c3, right c2 -> in c2 places 1 and 3, in c3 place 2.
    distances = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    ids = {"query_ids": ["a"], "gallery_ids": ["a", "b", "b", "a", "a"]}
    pairs = camera_pair_map(
        RankingProblem(DistanceScores(distances, metric="given"), **ids),
        query_cameras=["c1"],
        gallery_cameras=["c2", "c3", "c2", "c3", "c2"],
    )
    assert pairs.mAP.tolist() == [pytest.approx([(1 + 2 / 3) / 2, 1 / 2])]
    assert pairs.queries.tolist() == [[1, 1]]


def test_cameras_are_sorted_as_people_count_and_the_table_is_plain_json():
    names = ["cam10", "cam2", "cam1"]
    ids = {"query_ids": [0, 1, 2], "gallery_ids": [1, 2, 3]}
    ranking = RankingProblem(DistanceScores(torch.rand(3, 3), metric="given"), **ids)
    pairs = camera_pair_map(ranking, query_cameras=names, gallery_cameras=torch.tensor([10, 9, 2]))
    assert pairs.query_cameras == ("cam1", "cam2", "cam10")
    assert pairs.gallery_cameras == ("2", "9", "10")
    assert pairs.queries.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]  # query 2 finds row 1 (9), query 1 row 0 (10)
    plain = json.loads(json.dumps(pairs.as_dict(), allow_nan=False))
    assert plain["queries"] == pairs.queries.tolist()
    assert [plain[key] for key in ("protocol", "metric", "ap", "junk")] == ["image to image", "given", "step", "none"]
    assert plain["mAP"][2] == [None, None, None]
    assert plain["mAP"][0][1] == pytest.approx(pairs.mAP[0, 1].item())


def slow_interpolation(places, level):
    """The highest precision at recall level/100 or above of one query, from its right answers' places."""
    points = [(found / len(places), found / place) for found, place in enumerate(places, start=1)]
    return max(precision for recall, precision in points if recall >= level / 100 - 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_precision_recall_equals_the_slow_loop(seed, several_chunks):
    query, gallery, ids, query_cameras, gallery_cameras = drawn(seed)
    cameras = {"query_cameras": query_cameras, "gallery_cameras": gallery_cameras}
    scores = EmbeddingScores(query, gallery, metric="euclidean")
    curve = precision_recall_curve(RankingProblem(scores, **ids, **cameras))
    rows = []
    for number, identity in enumerate(ids["query_ids"]):
        same = [other == identity for other in ids["gallery_ids"]]
        kept = [row for row in range(70) if not (same[row] and gallery_cameras[row] == query_cameras[number])]
        distances = ((gallery - query[number]) ** 2).sum(dim=1).tolist()
        order = sorted(kept, key=lambda row: (distances[row], row))
        places = [place for place, row in enumerate(order, start=1) if same[row]]
        if places:
            rows.append([slow_interpolation(places, level) for level in range(101)])
    assert curve.queries == len(rows) < 23
    np.testing.assert_allclose(curve.recall.numpy(), np.arange(101) / 100)
    np.testing.assert_allclose(curve.precision.numpy(), np.mean(rows, axis=0), atol=1e-12)


def test_precision_recall_worked_out_by_hand():
    # Right answers at places 2, 3 and 5: precisions 1/2, 2/3, 3/5, of which 2/3 also counts before recall 2/3.
    ids = {"query_ids": ["a", "z"], "gallery_ids": ["b", "a", "a", "b", "a"]}
    distances = torch.arange(5.0).expand(2, 5)
    curve = precision_recall_curve(RankingProblem(DistanceScores(distances, metric="given"), **ids))
    assert curve.queries == 1
    assert curve.precision[[0, 1, 33, 34, 66]].tolist() == pytest.approx([2 / 3] * 5)
    assert curve.precision[[67, 100]].tolist() == pytest.approx([3 / 5] * 2)


def test_recall_levels_are_met_exactly():
    # 7 of 100 right answers are a recall of 0.07, though in floating point 0.07 * 100 > 7. The next one has a wrong
    # picture before it, so that all precisions from there on are lower.
    ids = {"query_ids": [1], "gallery_ids": [0 if row == 7 else 1 for row in range(101)]}
    curve = precision_recall_curve(RankingProblem(DistanceScores(torch.arange(101.0)[None], metric="given"), **ids))
    assert curve.precision[7].item() == 1.0
    assert curve.precision[8].item() == pytest.approx(100 / 101)


def test_cmc_curve_is_the_result_at_every_rank():
    query, gallery, ids, _, _ = drawn(5)
    result = evaluate_retrieval(query, gallery, **ids, metric="euclidean", ranks=range(1, 51))
    curve = cmc_curve(result.first_match)
    assert result.queries_without_match > 0
    assert curve.tolist() == pytest.approx([result.cmc[rank] for rank in range(1, 51)])


def test_cmc_curve_worked_out_by_hand():
    assert cmc_curve(torch.tensor([1, 3, 0, 3, 9]), ranks=4).tolist() == [0.25, 0.25, 0.75, 0.75]
    assert cmc_curve(torch.tensor([1]), ranks=1).tolist() == [1.0]


def test_mistakes_say_what_came():
    ranking = RankingProblem(DistanceScores(torch.rand(1, 2), metric="given"), query_ids=[0], gallery_ids=[0, 1])
    alone = RankingProblem(DistanceScores(torch.rand(1, 2), metric="given"), query_ids=[9], gallery_ids=[0, 1])
    cameras = {"query_cameras": ["c1"], "gallery_cameras": ["c1", "c2"]}
    with pytest.raises(ReIDError, match="gallery_cameras has 1 entries for 2"):
        camera_pair_map(ranking, query_cameras=["c1"], gallery_cameras=["c1"])
    with pytest.raises(ReIDError, match="ap is 'area'"):
        camera_pair_map(ranking, **cameras, ap="area")
    for curve in (lambda: camera_pair_map(alone, **cameras), lambda: precision_recall_curve(alone)):
        with pytest.raises(ReIDError, match="none of 1 query has a right answer"):
            curve()
    with pytest.raises(ReIDError, match="none of 2 queries"):
        cmc_curve(torch.tensor([0, 0]))
    with pytest.raises(ReIDError, match="ranks is 0"):
        cmc_curve(torch.tensor([1]), ranks=0)
