"""VehicleID: the layout, and galleries of one random picture of each vehicle."""

from __future__ import annotations

from collections import Counter

import pytest
from layouts import VEHICLEID_TEST, draw_vehicleid

from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.errors import ReIDError


@pytest.fixture
def tree(tmp_path):
    return draw_vehicleid(tmp_path / "VehicleID_V1.0")


def names(split) -> list[str]:
    return [image.path.name for image in split]


def galleries(dataset) -> list[set[str]]:
    pictures = names((*dataset.query, *dataset.gallery))
    return [{pictures[row] for row in draw} for draw in dataset.gallery_draws]


@pytest.mark.parametrize("split", ["small", "medium", "large"])
def test_the_layout_is_read(tree, split):
    dataset = read_vehicleid(root=str(tree), split=split)
    assert dataset.name == f"vehicleid-{split}"
    assert names(dataset.train) == [f"{number:07d}.jpg" for number in range(1, 7)]
    assert [image.identity for image in dataset.train] == ["1"] * 3 + ["2"] * 3
    assert {image.camera for image in (*dataset.train, *dataset.query, *dataset.gallery)} == {None}
    assert sorted(names(dataset.query) + names(dataset.gallery)) == [f"{n:07d}.jpg" for n in range(7, 16)]


def test_each_size_has_a_list_of_its_own(tree):
    (tree / "train_test_split" / "test_list_1600.txt").write_text("0000007.jpg 21\n0000008 21\n")
    dataset = read_vehicleid(root=tree, split="medium", repeats=1)
    assert sorted(names(dataset.query) + names(dataset.gallery)) == ["0000007.jpg", "0000008.jpg"]


def test_every_gallery_has_one_picture_of_each_vehicle_and_the_rest_are_queries(tree):
    dataset = read_vehicleid(root=tree)
    pictures = (*dataset.query, *dataset.gallery)
    assert len(dataset.gallery_draws) == 10
    assert dataset.gallery_draws[0] == (6, 7, 8)
    for draw in dataset.gallery_draws:
        assert sorted(pictures[row].identity for row in draw) == sorted(VEHICLEID_TEST)
    assert Counter(image.identity for image in dataset.query) == {name: n - 1 for name, n in VEHICLEID_TEST.items()}


def test_all_pictures_of_a_vehicle_are_drawn_about_equally_often(tree):
    drawn = Counter(name for gallery in galleries(read_vehicleid(root=tree, repeats=300)) for name in gallery)
    for name, count in VEHICLEID_TEST.items():
        first = {"21": 7, "22": 10, "23": 12}[name]
        for number in range(first, first + count):
            assert drawn[f"{number:07d}.jpg"] == pytest.approx(300 / count, rel=0.25)


def test_draws_follow_the_names_and_the_seed_alone(tree):
    before = galleries(read_vehicleid(root=tree, seed=3))
    assert galleries(read_vehicleid(root=tree, seed=3, repeats=12))[:10] == before
    path = tree / "train_test_split" / "test_list_800.txt"
    path.write_text("\n".join(reversed(path.read_text().split("\n"))))
    assert galleries(read_vehicleid(root=tree, seed=3)) == before
    assert galleries(read_vehicleid(root=tree, seed=4)) != before


def test_unreadable_pictures_are_in_no_gallery(tree):
    (tree / "image" / "0000010.jpg").write_bytes(b"")
    (tree / "image" / "0000012.jpg").unlink()
    with pytest.raises(ReIDError, match=r"2 of the 15 pictures .*\n.*0000010\.jpg: the file is empty\n.*no such file"):
        read_vehicleid(root=tree)
    dataset = read_vehicleid(root=tree, on_bad_image="skip")
    assert {path.name for path in dataset.skipped} == {"0000010.jpg", "0000012.jpg"}
    assert (len(dataset.query), len(dataset.gallery)) == (4, 3)
    assert all("0000011.jpg" in gallery for gallery in galleries(dataset))  # vehicle 22's other picture


@pytest.mark.parametrize("line", ["0000007", "0000007 21 4", "../../etc/passwd 21", "/0000007 21", "a/b 21"])
def test_a_malformed_line_is_named(tree, line):
    (tree / "train_test_split" / "test_list_800.txt").write_text(f"0000007 21\n\n{line}\n")
    with pytest.raises(ReIDError, match=r"test_list_800\.txt, line 3: .*'0000123 456'"):
        read_vehicleid(root=tree)


def test_what_cannot_be_evaluated_is_refused(tree, tmp_path):
    with pytest.raises(ReIDError, match="no test identity has a second picture"):
        read_vehicleid(root=draw_vehicleid(tmp_path / "lone", test={"21": 1, "22": 1}))
    with pytest.raises(ReIDError, match=r"data\.split is 'tiny'; expected one of small, medium, large"):
        read_vehicleid(root="nowhere", split="tiny")
    for repeats in (0, 2.5):
        with pytest.raises(ReIDError, match=r"data\.repeats is"):
            read_vehicleid(root=tree, repeats=repeats)


def test_wrong_folders_are_explained(tree):
    with pytest.raises(ReIDError, match=r"no folder nowhere .*image/, train_test_split/train_list\.txt"):
        read_vehicleid(root="nowhere")
    with pytest.raises(ReIDError, match=rf"did you mean data.root={tree}\?"):
        read_vehicleid(root=tree.parent)
    (tree / "train_test_split" / "test_list_2400.txt").unlink()
    with pytest.raises(ReIDError, match=r"has no train_test_split/test_list_2400\.txt"):
        read_vehicleid(root=tree, split="large")
    (tree / "train_test_split" / "test_list_800.txt").write_text("\n")
    with pytest.raises(ReIDError, match=r"test_list_800\.txt is empty"):
        read_vehicleid(root=tree)
