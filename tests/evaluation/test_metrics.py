import pytest
import torch
from torch import distributed
from toy_run import run_ranks

from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.metrics import OpenSetMetric, RetrievalMetric, TrackRetrievalMetric
from reid_lightning.ranking import evaluate_open_set, evaluate_retrieval
from reid_lightning.ranking.average_precision import evaluate_problem
from reid_lightning.ranking.protocols import ImageToTrack, TrackToTrack
from reid_lightning.ranking.table import EmbeddingTable

QUERIES, GALLERY, DIM = 7, 24, 6


def case():
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(QUERIES + GALLERY, DIM, generator=generator)
    names = {
        "query_ids": [str(row % 4) for row in range(QUERIES)],
        "gallery_ids": [str(row % 5) for row in range(GALLERY)],
        "query_cameras": [f"c{row % 2}" for row in range(QUERIES)],
        "gallery_cameras": [f"c{row % 3}" for row in range(GALLERY)],
    }
    return embeddings, names


def test_any_order_of_batches_gives_the_functions_result():
    embeddings, names = case()
    metric = RetrievalMetric(**names)
    rows = torch.randperm(QUERIES + GALLERY, generator=torch.Generator().manual_seed(1))
    for part in rows.split(4):
        metric.update(embeddings[part], part)
    values = metric.compute()
    expected = evaluate_retrieval(embeddings[:QUERIES], embeddings[QUERIES:], **names)
    assert metric.result.as_dict() == expected.as_dict()
    assert values["mAP"].item() == expected.mAP
    assert values["rank-5"].item() == expected.cmc[5]
    assert torch.equal(torch.cat(metric.last_embeddings), embeddings)


def test_repeated_rows_count_once_and_the_first_copy_stays():
    embeddings, names = case()
    metric = RetrievalMetric(**names)
    metric.update(embeddings, torch.arange(len(embeddings)))
    metric.update(torch.zeros(3, DIM), torch.tensor([0, 9, 30]))
    metric.compute()
    assert torch.equal(torch.cat(metric.last_embeddings), embeddings)


def test_missing_and_impossible_rows_are_named():
    embeddings, names = case()
    metric = RetrievalMetric(**names)
    with pytest.raises(ReIDError, match="shape"):
        metric.update(embeddings, torch.arange(3))
    metric.update(embeddings[:-2], torch.arange(len(embeddings) - 2))
    with pytest.raises(ReIDError, match="2 of 31 pictures were not embedded"):
        metric.compute()
    metric.update(embeddings[-2:], torch.tensor([30, 31]))
    with pytest.raises(ReIDError, match="0 to 30"):
        metric.compute()


def test_index_files_and_the_trapezoid_are_handed_on():
    embeddings, names = case()
    ids = {side: names[side] for side in ("query_ids", "gallery_ids")}
    same = [[row for row, other in enumerate(ids["gallery_ids"]) if other == one] for one in ids["query_ids"]]
    index = {"gt_index": [rows[1:] for rows in same], "jk_index": [rows[:1] for rows in same]}
    metric = RetrievalMetric(**ids, **index, ap="trapezoid")
    metric.update(embeddings.bfloat16(), torch.arange(len(embeddings), dtype=torch.int32))
    metric.compute()
    rounded = embeddings.bfloat16()
    expected = evaluate_retrieval(rounded[:QUERIES], rounded[QUERIES:], **ids, **index, ap="trapezoid")
    assert metric.result.as_dict() == expected.as_dict()
    assert metric.result.ap == "trapezoid"


def tables():
    """The case's names with tracks: pictures of one vehicle and camera; query tracks lie in the gallery."""
    embeddings, names = case()
    sides = {}
    for side, part in (("query", embeddings[:QUERIES]), ("gallery", embeddings[QUERIES:])):
        ids, cameras = tuple(names[f"{side}_ids"]), tuple(names[f"{side}_cameras"])
        tracks = tuple("_".join(pair) for pair in zip(ids, cameras, strict=True))
        sides[side] = EmbeddingTable(part, ids, cameras, tracks)
    return sides


@pytest.mark.parametrize("protocol", [ImageToTrack(metric="med"), TrackToTrack(metric="mcd", aggregation="mean")])
def test_tracks_are_judged_as_their_protocol_does(protocol):
    sides = tables()
    metric = TrackRetrievalMetric(protocol, **sides)
    rows = torch.randperm(QUERIES + GALLERY, generator=torch.Generator().manual_seed(1))
    for part in rows.split(4):
        metric.update(case()[0][part], part)
    values = metric.compute()
    expected = evaluate_problem(protocol.rank(**sides).problem)
    assert metric.result.as_dict() == expected.as_dict()
    assert values["mAP"].item() == expected.mAP
    assert expected.protocol == ("image to track" if isinstance(protocol, ImageToTrack) else "track to track")


def test_open_set_quality_is_that_of_the_function():
    embeddings, names = case()
    metric = OpenSetMetric(**names, false_match_rates=(0.05, 0.2))
    metric.update(embeddings, torch.arange(len(embeddings)))
    values = metric.compute()
    expected = evaluate_open_set(embeddings[:QUERIES], embeddings[QUERIES:], **names, false_match_rates=(0.05, 0.2))
    assert values["TPR@FPR=0.05"].item() == expected.match_points[0].true_match_rate
    assert metric.result.match_points == expected.match_points


def run_rank(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    embeddings, names = case()
    metric = RetrievalMetric(**names)
    # As DistributedSampler deals 31 pictures to 2 ranks: every second one, the first again at the end.
    rows = torch.tensor([*range(31), 0])[rank::2]
    for part in rows.split(5 if rank == 0 else 16):
        metric.update(embeddings[part], part)
    metric.compute()
    others = [OpenSetMetric(**names, false_match_rates=(0.1,)), TrackRetrievalMetric(TrackToTrack(), **tables())]
    for other in others:
        other.update(embeddings[rows], rows)
    others = [{name: value.item() for name, value in other.compute().items()} for other in others]
    idle = RetrievalMetric(**names)  # one rank is given nothing, or both
    if rank == 0:
        idle.update(embeddings, torch.arange(31))
    idle.compute()
    ranked = torch.cat(idle.last_embeddings)
    results = [(one.result.as_dict(), one.result.average_precision) for one in (metric, idle)]
    idle.reset()
    with pytest.raises(ReIDError, match="no embedding was added"):
        idle.compute()
    torch.save({"results": results, "ranked": ranked, "others": others}, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def test_two_ranks_give_the_result_of_one_to_the_last_digit(tmp_path):
    run_ranks(run_rank, tmp_path)
    embeddings, names = case()
    expected = evaluate_retrieval(embeddings[:QUERIES], embeddings[QUERIES:], **names)
    others = [OpenSetMetric(**names, false_match_rates=(0.1,)), TrackRetrievalMetric(TrackToTrack(), **tables())]
    for other in others:
        other.update(embeddings, torch.arange(31))
    others = [{name: value.item() for name, value in other.compute().items()} for other in others]
    for rank in range(2):
        came = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for values, average_precision in came["results"]:
            assert values == expected.as_dict()
            assert average_precision.tolist() == pytest.approx(expected.average_precision.tolist(), abs=0, nan_ok=True)
        assert torch.equal(came["ranked"], embeddings)
        assert came["others"] == others
