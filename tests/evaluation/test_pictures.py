import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation import pictures, ranked_lists
from reid_lightning.evaluation.ranked_lists import PicturedRanking, RankedList, RankedMatch
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import DistanceScores, RankingProblem, evaluate_retrieval
from reid_lightning.synthetic.fleet import read_synthetic


@pytest.fixture
def dataset(tmp_path):
    def record(number, identity, camera):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (40 + number, 30), (10 * number, 100, 50)).save(path)
        return VehicleImage(path, identity, camera)

    query = tuple(record(number, "ab"[number], "c1") for number in range(2))
    gallery = tuple(record(2 + number, "abab"[number], f"c{1 + number // 2}") for number in range(4))
    return VehicleDataset("toy", query=query, gallery=gallery)


QUERY = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
GALLERY = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.9, 0.1]])


def ranking_of(dataset, query=QUERY, gallery=GALLERY):
    result = evaluate_retrieval(query, gallery, **ranking_labels(dataset))
    return PicturedRanking.of_embeddings(dataset, query, gallery, result)


def test_lists_leave_out_junk_and_mark_what_is_right(dataset):
    lists = ranked_lists.ranked_lists(ranking_of(dataset), rows=[0, 1], columns=4)
    assert [[match.image.path.stem for match in one.matches] for one in lists] == [["5", "4", "3"], ["4", "5", "2"]]
    assert [[match.correct for match in one.matches] for one in lists] == [[False, True, False], [False, True, False]]
    assert [match.place for match in lists[0].matches] == [1, 2, 3]
    assert lists[0].matches[1].score == pytest.approx(0.8)
    assert lists[0].average_precision == pytest.approx(0.5)


def test_distances_are_shown_as_distances(dataset):
    ranking = ranking_of(dataset)
    names = ranking_labels(dataset)
    problem = RankingProblem(DistanceScores(torch.cdist(QUERY, GALLERY), metric="given"), **names)
    by_distance = PicturedRanking(problem, ranking.result, ranking.query, ranking.gallery)
    first = ranked_lists.ranked_lists(by_distance, rows=[0], columns=1)[0].matches[0]
    assert first.score == pytest.approx((QUERY[0] - GALLERY[3]).norm().item())


def test_queries_reach_from_the_worst_to_the_best():
    precision = torch.tensor([0.5, torch.nan, 0.1, 1.0, 0.3, 0.7])
    assert ranked_lists.choose_queries(precision, 3) == [2, 0, 3]
    assert ranked_lists.choose_queries(precision, 50) == [2, 4, 0, 5, 3]


def test_the_hardest_queries_come_first_and_ties_in_their_order():
    precision = torch.tensor([0.5, torch.nan, 0.1, 1.0, 0.1, 0.7])
    assert ranked_lists.choose_hardest(precision, 3) == [2, 4, 0]
    assert ranked_lists.choose_hardest(precision, 50) == [2, 4, 0, 5, 3]


def frames(pixels, number=0):
    """The colours of the frames of a picture's row, from left to right, and where each begins."""
    side = pictures.CELL + 2 * pictures.FRAME
    is_query = (pixels[:, pictures.GAP : pictures.GAP + side] == 0x33).all(axis=(1, 2))
    tops = [row for row in range(1, len(pixels)) if is_query[row] and not is_query[row - 1]][::2]  # not the lower edges
    found, left = [], 0
    for colour, run in itertools.groupby("#" + bytes(pixel).hex() for pixel in pixels[tops[number]]):
        if colour != "#ffffff":
            found.append((colour, left))
        left += len(list(run))
    return found


def opened(path):
    return np.asarray(Image.open(path).convert("RGB"))


STEP = pictures.CELL + 2 * pictures.FRAME + pictures.GAP


def test_the_picture_shows_green_and_red_frames_in_their_places(dataset, tmp_path):
    path = pictures.draw_ranked_lists(ranking_of(dataset), tmp_path / "lists.png", name="toy", columns=3)
    colours = [pictures.QUERY, pictures.WRONG, pictures.RIGHT, pictures.WRONG]
    lefts = [pictures.GAP, *(2 * pictures.GAP + place * STEP for place in (1, 2, 3))]
    assert frames(opened(path)) == list(zip(colours, lefts, strict=True))
    assert [file.name for file in tmp_path.glob("*lists*")] == ["lists.png"]


def test_missing_matches_leave_blank_cells_and_long_names_stay_in_theirs(dataset):
    query = VehicleImage(dataset.query[0].path, "a" * 60, "c1")
    match = RankedMatch(dataset.gallery[0], 1, 0.5, correct=True)
    lists = [RankedList(query, (match,), float("nan"))]
    pixels = np.asarray(pictures.draw_lists(lists, title="t", subtitle="s", columns=3))
    assert pixels.shape[1] == 2 * pictures.GAP + 4 * STEP
    below_the_title = pixels[pictures.TITLE :]
    assert (below_the_title[:, 2 * pictures.GAP + 2 * STEP :] == 255).all()  # no second match, no third
    assert (below_the_title[:, STEP : STEP + pictures.GAP] == 255).all()  # between the query and its first match


def test_long_subtitles_are_broken_into_lines_not_cut(dataset):
    lists = [RankedList(dataset.query[0], (), 0.5)]

    def drawn(subtitle):
        return np.asarray(pictures.draw_lists(lists, title="t", subtitle=subtitle, columns=3))

    short, long = drawn("word\nword"), drawn("word " * 200)
    assert long.shape[1] == short.shape[1]
    lines = 2 + (long.shape[0] - short.shape[0]) / pictures.LINE
    words_a_line = 200 / lines
    assert lines == int(lines)
    assert 8 < words_a_line < 25  # of about 30 pixels each, in 452
    assert (long[:, -pictures.GAP :] == 255).all()
    assert len(frames(long)) == 1


def hardest(dataset, **options):
    arguments = {"queries": 2, "confusers": 2} | options
    return ranked_lists.hardest_lists(ranking_of(dataset), **arguments)


def test_hardest_queries_show_what_was_taken_for_them_and_the_first_right_answer(dataset):
    # Query "a" (c1) ranks b .9, a .8, b .6 (its own camera's a is junk), query "b": a .6, b .1, a 0.
    lists = hardest(dataset)
    assert [[match.image.path.stem for match in one.matches] for one in lists] == [["5", "3"], ["4", "2"]]
    assert [[match.place for match in one.matches] for one in lists] == [[1, 3], [1, 3]]
    assert not any(match.correct for one in lists for match in one.matches)
    assert [one.answer.image.path.stem for one in lists] == ["4", "5"]
    assert [one.answer.place for one in lists] == [2, 2]
    assert lists[0].answer.score == pytest.approx(0.8)
    assert all(one.answer.correct for one in lists)
    only = hardest(dataset, queries=1, confusers=1)
    assert [[match.place for match in one.matches] for one in only] == [[1]]


def slow_hardest(query, gallery, names, row, confusers):
    """Rows of the confusers and of the best right answer, with places, of one query: by sorting."""
    scores = torch.nn.functional.cosine_similarity(query[row][None], gallery)
    same = [identity == names["query_ids"][row] for identity in names["gallery_ids"]]
    camera = names["query_cameras"][row]
    junk = [one and other == camera for one, other in zip(same, names["gallery_cameras"], strict=True)]
    order = [number for number in scores.argsort(descending=True).tolist() if not junk[number]]
    placed = list(enumerate(order, start=1))
    wrong = [(place, number) for place, number in placed if not same[number]]
    return wrong[:confusers], next((place, number) for place, number in placed if same[number])


def test_hardest_queries_of_the_drawn_fleet(fleet_root, tmp_path):
    dataset = read_synthetic(root=fleet_root, size="tiny")
    names = ranking_labels(dataset)
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(len(names[ids]), 8, generator=generator) for ids in ("query_ids", "gallery_ids"))
    ranking = ranking_of(dataset, query, gallery)
    result = ranking.result
    lists = ranked_lists.hardest_lists(ranking, queries=4, confusers=3)
    worst = sorted(range(len(dataset.query)), key=lambda row: result.average_precision[row].item())[:4]
    for row, one in zip(worst, lists, strict=True):
        assert one.query is dataset.query[row]
        assert one.average_precision == result.average_precision[row].item()
        wrong, right = slow_hardest(query, gallery, names, row, 3)
        assert [(match.place, match.image) for match in one.matches] == [(p, dataset.gallery[n]) for p, n in wrong]
        assert (one.answer.place, one.answer.image) == (right[0], dataset.gallery[right[1]])
        assert one.answer.place == result.first_match[row]
    path = tmp_path / "hardest.png"
    assert pictures.draw_hardest_queries(ranking, path, name="fleet", queries=4, confusers=3) == path
    pixels = opened(path)
    assert pixels.shape[1] == 3 * pictures.GAP + 5 * STEP
    lefts = [pictures.GAP, *(2 * pictures.GAP + place * STEP for place in (1, 2, 3)), 3 * pictures.GAP + 4 * STEP]
    for number in range(4):
        colours = [pictures.QUERY, *[pictures.WRONG] * 3, pictures.RIGHT]
        assert frames(pixels, number) == list(zip(colours, lefts, strict=True))
    assert [file.name for file in tmp_path.iterdir()] == ["hardest.png"]


def test_fewer_confusers_than_columns_leave_the_answer_in_the_last(dataset, tmp_path):
    path = tmp_path / "hardest.png"
    pictures.draw_hardest_queries(ranking_of(dataset), path, name="toy", queries=1, confusers=4)
    colours = [pictures.QUERY, pictures.WRONG, pictures.WRONG, pictures.RIGHT]
    lefts = [pictures.GAP, 2 * pictures.GAP + STEP, 2 * pictures.GAP + 2 * STEP, 3 * pictures.GAP + 5 * STEP]
    assert frames(opened(path)) == list(zip(colours, lefts, strict=True))


def test_a_picture_that_cannot_be_drawn_leaves_the_old_file(dataset, tmp_path):
    path = tmp_path / "hardest.png"
    path.write_bytes(b"old")
    ranking = ranking_of(dataset)
    dataset.gallery[3].path.unlink()
    with pytest.raises(ReIDError, match=r"5\.png"):
        pictures.draw_hardest_queries(ranking, path, name="toy")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.glob("*hardest*")] == ["hardest.png"]
