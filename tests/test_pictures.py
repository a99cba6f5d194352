import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning import pictures
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.ranking import evaluate_retrieval


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


def result_of(dataset):
    from reid_lightning.data.protocol import protocol_of

    return evaluate_retrieval(QUERY, GALLERY, **protocol_of(dataset))


def test_lists_leave_out_junk_and_mark_what_is_right(dataset):
    result = result_of(dataset)
    lists = pictures.ranked_lists(dataset, QUERY, GALLERY, result, rows=[0, 1], columns=4)
    assert [[match.image.path.stem for match in one.matches] for one in lists] == [["5", "4", "3"], ["4", "5", "2"]]
    assert [[match.correct for match in one.matches] for one in lists] == [[False, True, False], [False, True, False]]
    assert lists[0].matches[1].score == pytest.approx(0.8)
    assert lists[0].average_precision == pytest.approx(0.5)


def test_queries_reach_from_the_worst_to_the_best():
    precision = torch.tensor([0.5, torch.nan, 0.1, 1.0, 0.3, 0.7])
    assert pictures.choose_queries(precision, 3) == [2, 0, 3]
    assert pictures.choose_queries(precision, 50) == [2, 4, 0, 5, 3]


def test_the_picture_shows_green_and_red_frames_in_their_places(dataset, tmp_path):
    path = pictures.draw_ranked_lists(dataset, QUERY, GALLERY, result_of(dataset), tmp_path / "lists.png", columns=3)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    step = pictures.CELL + 2 * pictures.FRAME + pictures.GAP

    def frame(place):
        left = pictures.GAP + place * step + (pictures.GAP if place else 0)
        return "#" + "".join(f"{value:02x}" for value in pixels[pictures.TITLE + 1, left + 1])

    assert [frame(place) for place in range(4)] == [pictures.QUERY, pictures.WRONG, pictures.RIGHT, pictures.WRONG]
    assert [file.name for file in tmp_path.glob("*lists*")] == ["lists.png"]


def test_missing_matches_leave_blank_cells_and_long_names_stay_in_theirs(dataset):
    query = VehicleImage(dataset.query[0].path, "a" * 60, "c1")
    match = pictures.RankedMatch(dataset.gallery[0], 0.5, correct=True)
    lists = [pictures.RankedList(query, (match,), float("nan"))]
    pixels = np.asarray(pictures.draw_lists(lists, title="t", subtitle="s", columns=3))
    step = pictures.CELL + 2 * pictures.FRAME + pictures.GAP
    assert pixels.shape[1] == 2 * pictures.GAP + 4 * step
    below_the_title = pixels[pictures.TITLE :]
    assert (below_the_title[:, 2 * pictures.GAP + 2 * step :] == 255).all()  # no second match, no third
    assert (below_the_title[:, step : step + pictures.GAP] == 255).all()  # between the query and its first match
