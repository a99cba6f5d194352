"""The VeRi-776 reader: small trees written by hand, and the owners' real lists at their true size."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from reid_lightning.data.readers import veri
from reid_lightning.data.readers.veri import read_index, read_labels, read_name_list, read_tracks, read_veri, records
from reid_lightning.errors import ReIDError

TRAIN = ["0001_c001_00000010_0.jpg", "0001_c002_00000020_0.jpg", "0005_c001_00000030_0.jpg"]
TEST = [
    "0002_c001_00000010_0.jpg",
    "0002_c001_00000015_0.jpg",
    "0002_c002_00000020_0.jpg",
    "0003_c001_00000030_0.jpg",
    "0003_c003_00000040_0.jpg",
]
QUERY = [TEST[0], TEST[2], TEST[4]]


def label_xml(names: list[str], encoding: str = "gb2312") -> str:
    items = "\r\n".join(
        f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="{name[3]}" typeID="2" />'
        for name in names
    )
    return (
        f'<?xml version="1.0" encoding="{encoding}" ?>\r\n<TrainingImages Version="1.0">\r\n'
        f'<Items number="{len(names)}">\r\n{items}\r\n</Items>\r\n</TrainingImages>\r\n'
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A complete VeRi-776 folder with eight pictures, six of them also or only for test."""
    root = tmp_path / "VeRi"
    for part, names in (("train", TRAIN), ("query", QUERY), ("test", TEST)):
        folder = root / f"image_{part}"
        folder.mkdir(parents=True)
        for name in names:
            Image.new("RGB", (8, 8), (90, 90, 90)).save(folder / name)
        (root / f"name_{part}.txt").write_text("\r\n".join(names) + "\r\n", encoding="utf-8")
    (root / "train_label.xml").write_bytes(label_xml(TRAIN).encode("gb2312"))
    (root / "test_label.xml").write_bytes(label_xml(TEST).encode("gb2312"))
    (root / "test_track.txt").write_text(
        f"0002_c001_t1 {TEST[0]} {TEST[1]} \r\n0002_c002_t2 {TEST[2]} \r\n0003_c001_t1 {TEST[3]}\r\n"
        f"0003_c003_t9 {TEST[4]}\r\n",
        encoding="utf-8",
    )
    (root / "gt_index.txt").write_bytes(b"3 \r\n1 2 \r\n4 \r\n")
    (root / "jk_index.txt").write_bytes(b"1 2 \r\n3 \r\n5 \r\n")
    return root


def test_the_whole_layout_is_read(tree):
    dataset = read_veri(root=str(tree))
    assert dataset.name == "veri776"
    assert [image.path for image in dataset.train] == [tree / "image_train" / name for name in TRAIN]
    assert [image.path for image in dataset.query] == [tree / "image_query" / name for name in QUERY]
    assert [image.path for image in dataset.gallery] == [tree / "image_test" / name for name in TEST]
    first = dataset.train[0]
    assert (first.identity, first.camera, first.track) == ("0001", "c001", None)
    assert (first.colour, first.type) == ("yellow", "suv")
    assert dataset.gt_index == ((2,), (0, 1), (3,))
    assert dataset.jk_index == ((0, 1), (2,), (4,))
    assert [image.track for image in dataset.gallery] == ["0002_c001_t1"] * 2 + [
        "0002_c002_t2",
        "0003_c001_t1",
        "0003_c003_t9",
    ]
    assert [image.track for image in dataset.query] == ["0002_c001_t1", "0002_c002_t2", "0003_c003_t9"]
    assert dataset.query[0].colour == "orange"
    assert dataset.skipped == ()


def test_everything_but_the_pictures_is_optional(tree):
    for path in tree.iterdir():
        if path.is_file():
            path.unlink()
    (tree / "image_test" / "Thumbs.db").write_bytes(b"x")
    (tree / "image_test" / "._0002_c001_00000010_0.jpg").write_bytes(b"x")
    dataset = read_veri(root=tree)
    assert [image.path.name for image in dataset.gallery] == TEST
    assert [image.path.name for image in dataset.query] == sorted(QUERY)
    assert dataset.gt_index is None and dataset.jk_index is None
    assert {(image.colour, image.type, image.track) for image in dataset.gallery} == {(None, None, None)}


def test_names_of_colours_and_types_are_taken_from_the_copy(tree):
    (tree / "list_color.txt").write_text("1 Gelb\n2 Dark Orange\n", encoding="utf-8")
    (tree / "list_type.txt").write_text("\n2 jeep\n", encoding="utf-8")
    dataset = read_veri(root=tree)
    assert [image.colour for image in dataset.train] == ["Gelb", "Gelb", "5"]  # an id without a name stays
    assert dataset.gallery[0].colour == "Dark Orange"
    assert dataset.gallery[0].type == "jeep"


def test_a_picture_without_a_label_or_a_track_is_kept(tree):
    (tree / "test_label.xml").write_text(label_xml(TEST[1:]), encoding="utf-8")
    (tree / "test_track.txt").write_text(f"t1 {TEST[1]}\n", encoding="utf-8")
    first, second = read_veri(root=tree).gallery[:2]
    assert (first.colour, first.type, first.track) == (None, None, None)
    assert (second.colour, second.type, second.track) == ("orange", "suv", "t1")


@pytest.mark.parametrize("declared", ["utf-8", "gb2312", "GB2312", "gbk", None])
@pytest.mark.parametrize("written", ["utf-8", "gb2312"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_label_encodings(tmp_path, declared, written, bom):
    text = label_xml(TEST).replace("<Items", "<!-- 车辆 -->\r\n<Items")
    text = text.replace(' encoding="gb2312"', f' encoding="{declared}"' if declared else "")
    path = tmp_path / "test_label.xml"
    path.write_bytes(bom + text.encode(written))
    labels = read_labels(path)
    assert list(labels) == TEST
    assert labels[TEST[0]] == ("2", "2")


def test_labels_without_declaration(tmp_path):
    path = tmp_path / "test_label.xml"
    path.write_text(f'<Items><Item imageName="{TEST[0]}" colorID="4"/></Items>', encoding="utf-8")
    assert read_labels(path) == {TEST[0]: ("4", None)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (label_xml(TEST)[:-40], "not well-formed XML"),
        ("", "not well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>', "document type"),
        ('<Items><Item name="x.jpg"/></Items>', "no imageName"),
    ],
)
def test_bad_labels_are_clear_errors(tmp_path, content, message):
    path = tmp_path / "test_label.xml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ReIDError, match=message):
        read_labels(path)


def test_label_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "test_label.xml"
    path.write_bytes(b'<?xml version="1.0" encoding="gb2312"?>\xff\xff\x80')
    with pytest.raises(ReIDError, match="cannot be decoded"):
        read_labels(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 a.jpg b.JPG\n8 c.jpg \n", {"a.jpg": "7", "b.JPG": "7", "c.jpg": "8"}),
        ("a.jpg b.jpg\n\nc.jpg\n", {"a.jpg": "line0001", "b.jpg": "line0001", "c.jpg": "line0003"}),
        ("0002_c001 a.jpg\n0002_c001 b.jpg\n", {"a.jpg": "0002_c001", "b.jpg": "0002_c001_line0002"}),
        ("0002_c001_t1 2 a.jpg\tb.jpg\r\n", {"a.jpg": "0002_c001_t1", "b.jpg": "0002_c001_t1"}),
    ],
)
def test_tracks_are_read_by_position(tmp_path, text, expected):
    path = tmp_path / "test_track.txt"
    path.write_text(text, encoding="utf-8")
    assert read_tracks(path) == expected


@pytest.mark.parametrize(
    ("text", "message"), [("t1 a.jpg\nt2 a.jpg\n", "line 2: a.jpg is in the track t1"), ("t1 t2\n", "line 1")]
)
def test_bad_tracks_are_clear_errors(tmp_path, text, message):
    path = tmp_path / "test_track.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReIDError, match=message):
        read_tracks(path)


def test_index_rows_may_be_empty_and_end_without_a_newline(tmp_path):
    path = tmp_path / "gt_index.txt"
    path.write_bytes(b"1 3 \r\n\r\n2")
    assert read_index(path, queries=3, gallery=3) == ((0, 2), (), (1,))
    path.write_bytes(b"1 3 \r\n\r\n2\r\n\r\n\r\n")
    assert read_index(path, queries=3, gallery=3) == ((0, 2), (), (1,))
    path.write_bytes(b"1\n\n\n")
    assert read_index(path, queries=3, gallery=1) == ((0,), (), ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\n2\n", "2 lines for 3 query pictures"),
        (b"1\n2\n3\n4\n", "4 lines for 3 query pictures"),
        (b"1\n0 2\n3\n", "line 2: row 0 is outside 1 to 4"),
        (b"1\n2\n3 5\n", "line 3: row 5 is outside 1 to 4"),
        (b"1\n2\nx\n", "line 3: expected row numbers, got 'x'"),
        (b"1\n\x93\xff\n3\n", "not a text file"),
    ],
)
def test_bad_index_files_are_clear_errors(tmp_path, content, message):
    path = tmp_path / "gt_index.txt"
    path.write_bytes(content)
    with pytest.raises(ReIDError, match=message):
        read_index(path, queries=3, gallery=4)


def test_one_index_file_alone_is_an_error(tree):
    (tree / "jk_index.txt").unlink()
    with pytest.raises(ReIDError, match="without its partner"):
        read_veri(root=tree)


def test_an_index_for_lists_in_another_order_is_an_error(tree):
    (tree / "name_test.txt").write_text("\n".join(reversed(TEST)), encoding="utf-8")
    with pytest.raises(ReIDError, match="lists in another order"):
        read_veri(root=tree)


def test_shorter_lists_than_pictures_are_followed(tree):
    (tree / "name_train.txt").write_text(f"{TRAIN[2]} 0\n{TRAIN[0]} 1\n\n", encoding="utf-8")
    assert [image.path.name for image in read_veri(root=tree).train] == [TRAIN[2], TRAIN[0]]


@pytest.mark.parametrize("name", ["0002-c001-1.jpg", "0002_1_00.jpg", "car.jpg", "_c001_0.jpg"])
def test_names_of_another_form_are_named(tree, name):
    (tree / "image_train" / name).write_bytes((tree / "image_train" / TRAIN[0]).read_bytes())
    (tree / "name_train.txt").unlink()
    with pytest.raises(ReIDError, match=f"'{name}' of .*image_train is not named <identity>_c<camera>"):
        read_veri(root=tree)


def test_missing_and_truncated_pictures(tree):
    (tree / "image_test" / TEST[1]).unlink()
    truncated = tree / "image_train" / TRAIN[0]
    truncated.write_bytes(truncated.read_bytes()[:200])
    with pytest.raises(ReIDError, match="2 of the 11 pictures") as caught:
        read_veri(root=tree)
    assert TEST[1] in str(caught.value) and TRAIN[0] in str(caught.value)
    kept = read_veri(root=tree, on_bad_image="skip")
    assert len(kept.skipped) == 2 and len(kept.train) == 2
    assert kept.gt_index == ((1,), (0,), (2,))
    assert kept.jk_index == ((0,), (1,), (3,))


def test_wrong_roots_say_what_is_expected(tree, tmp_path):
    with pytest.raises(ReIDError, match=r"no folder .*absent.*image_train/, image_query/ and image_test/"):
        read_veri(root=tmp_path / "absent")
    with pytest.raises(ReIDError, match=f"did you mean data.root={tree}"):
        read_veri(root=tree.parent)
    shutil.rmtree(tree / "image_query")
    with pytest.raises(ReIDError, match="has no image_query/"):
        read_veri(root=tree)
    with pytest.raises(ReIDError, match="there is no folder"):
        read_veri(root=tree / "name_test.txt")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_list_is_an_error(tree, part):
    (tree / f"name_{part}.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(ReIDError, match=f"name_{part}.txt names no picture"):
        read_veri(root=tree)


@pytest.fixture(scope="module")
def real_lists(shared_data: Path) -> Path:
    return shared_data / "veri_labels"


def test_real_lists_have_the_published_counts(real_lists):
    train, query, test = (read_name_list(real_lists / f"{part}_list.txt") for part in ("train", "query", "test"))
    assert (len(train), len(test), len(query)) == (37_778, 11_579, 1_678)
    folder = Path("pictures")
    images = {part: records(names, folder=folder) for part, names in (("train", train), ("test", test))}
    assert len({image.identity for image in images["train"]}) == 576
    assert len({image.identity for image in images["test"]}) == 200
    assert len({image.camera for split in images.values() for image in split}) == 20


def test_real_tracks_cover_the_gallery(real_lists):
    tracks = read_tracks(real_lists / "test_track_list.txt")
    assert len(set(tracks.values())) == 2_021
    assert set(tracks) == set(read_name_list(real_lists / "test_list.txt"))
    assert all(track.startswith(picture[:9]) for picture, track in tracks.items())


def test_real_index_files_are_the_camera_rule_without_an_exception(real_lists):
    query, test = (read_name_list(real_lists / f"{part}_list.txt") for part in ("query", "test"))
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(test):
        rows_of.setdefault(name[:4], []).append(row)
    gt_index, jk_index = (
        read_index(real_lists / f"{kind}_index.txt", queries=len(query), gallery=len(test)) for kind in ("gt", "jk")
    )
    for name, right, junk in zip(query, gt_index, jk_index, strict=True):
        rows = rows_of[name[:4]]
        assert list(right) == [row for row in rows if test[row][5:9] != name[5:9]]
        assert list(junk) == [row for row in rows if test[row][5:9] == name[5:9]]


def test_real_labels_name_every_gallery_picture(real_lists):
    labels = read_labels(real_lists / "test_label.xml")
    assert set(labels) == set(read_name_list(real_lists / "test_list.txt"))
    train = read_labels(real_lists / "train_label.xml")
    assert len(train) == 37_778
    assert len(set(read_name_list(real_lists / "train_list.txt")) - set(train)) == 12  # rebuilt from another list


def test_the_reader_at_true_size(real_lists, tmp_path, monkeypatch):
    """The whole layout with the owners' lists; the pictures themselves are not here, so they are not looked at."""
    monkeypatch.setattr(veri, "check_images", lambda dataset, on_bad_image: dataset)
    for part in ("train", "query", "test"):
        (tmp_path / f"image_{part}").mkdir()
        (tmp_path / f"name_{part}.txt").symlink_to(real_lists / f"{part}_list.txt")
    for name in ("train_label.xml", "test_label.xml", "gt_index.txt", "jk_index.txt", "list_type.txt"):
        (tmp_path / name).symlink_to(real_lists / name)
    (tmp_path / "test_track.txt").symlink_to(real_lists / "test_track_list.txt")
    dataset = read_veri(root=tmp_path)
    assert [len(split) for split in (dataset.train, dataset.query, dataset.gallery)] == [37_778, 1_678, 11_579]
    assert sum(image.colour is None for image in dataset.train) == 12
    assert {image.type for image in dataset.gallery} <= set(veri.TYPES)
    assert {image.colour for image in dataset.train} - {None} <= set(veri.COLOURS)
    assert all(image.track for image in (*dataset.query, *dataset.gallery))
    assert Counter(len(rows) > 0 for rows in dataset.gt_index) == {True: 1_678}


def test_viewpoints_come_from_the_key_point_files_that_are_named(tree):
    points = " ".join(["-1 -1"] * 20)
    (tree / "keypoint_train.txt").write_text(f"/data/VeRi/image_train/{TRAIN[0]} {points} 3\n\n{TRAIN[2]} 7\n")
    (tree / "keypoint_test.txt").write_text(f"C:\\VeRi\\image_test\\{TEST[2]} {points} 0\n")
    assert {image.viewpoint for image in read_veri(root=tree).train} == {None}
    dataset = read_veri(root=tree, viewpoints=["keypoint_train.txt", "keypoint_test.txt"])
    assert [image.viewpoint for image in dataset.train] == ["3", None, "7"]
    assert [image.viewpoint for image in dataset.query] == [None, "0", None]
    assert dataset.gallery[2].viewpoint == "0"
    (tree / "keypoint_test.txt").write_text(f"{TEST[2]}\n")
    with pytest.raises(ReIDError, match=r"line 1: .*expected a picture and its viewpoint"):
        read_veri(root=tree, viewpoints=["keypoint_test.txt"])
    with pytest.raises(ReIDError, match="cannot be read"):
        read_veri(root=tree, viewpoints=["missing.txt"])


def test_a_list_of_viewpoints_that_is_not_there_is_named_with_its_key(tree):
    with pytest.raises(ReIDError, match=r"data\.viewpoints: .*nope\.txt cannot be read: No such file .*seen from"):
        read_veri(root=tree, viewpoints=["nope.txt"])
