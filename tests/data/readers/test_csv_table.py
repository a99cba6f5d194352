"""The table reader: what columns mean, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.errors import ReIDError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures a1, a2, b1, b2, c1, c2 in crops/: identities a to c, each under cameras 1 and 2."""
    (tmp_path / "crops").mkdir()
    for name in ("a1", "a2", "b1", "b2", "c1", "c2"):
        Image.new("RGB", (8, 8)).save(tmp_path / "crops" / f"{name}.jpg")
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "cars.csv"
    path.write_text(text, encoding=encoding, newline="")
    return path


PLAIN = "path,identity,camera\n" + "".join(f"crops/{i}{c}.jpg,{i},{c}\n" for i in "abc" for c in "12")


def stems(split) -> list[str]:
    return [image.path.stem for image in split]


def test_all_columns(folder):
    text = (
        "type,split,path,note,identity,camera,track,colour,viewpoint\r\n"
        'van,train,crops/a1.jpg,"x, y",a,cam 1,t1,red,rear\r\n'
        ",query,crops/b1.jpg,,b,1,,,\r\n\r\n"
        "suv,gallery,crops/b2.jpg,,b,2,t2,blue,\r\n"
    )
    dataset = read_csv(path=table(folder, text, encoding="utf-8-sig"))
    assert dataset.name == "cars"
    (train,), (query,), (gallery,) = dataset.train, dataset.query, dataset.gallery
    assert train.path == folder / "crops" / "a1.jpg"
    assert (train.identity, train.camera, train.track, train.colour, train.type) == ("a", "cam 1", "t1", "red", "van")
    assert (query.track, query.colour, query.type) == (None, None, None)
    assert gallery.identity == "b"
    assert (train.viewpoint, query.viewpoint) == ("rear", None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_separators(folder, delimiter):
    assert len(read_csv(path=table(folder, PLAIN.replace(",", delimiter)), test_fraction=1).gallery) == 6


def test_without_a_split_column_identities_are_divided(folder):
    path = table(folder, PLAIN)
    dataset = read_csv(path=path, test_fraction=0.34, seed=1)
    assert len(dataset.train) == 4 and len(dataset.query) == len(dataset.gallery) == 2
    assert not {image.identity for image in dataset.train} & {image.identity for image in dataset.gallery}
    again = read_csv(path=str(path), test_fraction=0.34, seed=1)
    assert again == dataset
    by_camera = read_csv(path=path, test_fraction=1, query_cameras=[1], gallery_cameras=[2])
    assert (stems(by_camera.query), stems(by_camera.gallery)) == (["a1", "b1", "c1"], ["a2", "b2", "c2"])


def test_test_pictures_are_divided_by_camera(folder):
    text = "path,identity,camera,split\n" + "".join(
        f"crops/{i}{c}.jpg,{i},{c},{'train' if i == 'a' else 'val'}\n" for i in "abc" for c in "12"
    )
    dataset = read_csv(path=table(folder, text), query_cameras=[2])
    assert (stems(dataset.train), stems(dataset.query), stems(dataset.gallery)) == (
        ["a1", "a2"],
        ["b2", "c2"],
        ["b1", "c1"],
    )


def test_paths_start_from_root(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    path = table(elsewhere, PLAIN.replace("crops/", ""))
    assert len(read_csv(path=path, root=folder / "crops", test_fraction=0).train) == 6
    with pytest.raises(
        ReIDError, match=r"6 of the 6 pictures of cars cannot be read:\n.*a1\.jpg: there is no such file"
    ):
        read_csv(path=path, test_fraction=0)
    absolute = table(elsewhere, PLAIN.replace("crops/", f"{folder}/crops/"))
    assert len(read_csv(path=absolute, test_fraction=0).train) == 6


def test_columns_of_other_names_are_mapped(folder):
    path = table(folder, PLAIN.replace("identity", "vehicle_id").replace("camera", "cam_no"))
    dataset = read_csv(path=path, columns={"identity": "vehicle_id", "camera": "cam_no"}, test_fraction=0)
    assert [image.camera for image in dataset.train] == list("121212")
    with pytest.raises(
        ReIDError, match=r"no column identity; its header is path, vehicle_id.*data.columns=\{identity: "
    ):
        read_csv(path=path)
    with pytest.raises(ReIDError, match=r"data.columns.identity: .* has no column 'vid'"):
        read_csv(path=path, columns={"identity": "vid"})
    with pytest.raises(ReIDError, match="'id' is not one of path, identity"):
        read_csv(path=path, columns={"id": "vehicle_id"})


def test_unreadable_pictures(folder):
    (folder / "crops" / "a1.jpg").write_bytes(b"")
    with pytest.raises(ReIDError, match=r"a1\.jpg: the file is empty"):
        read_csv(path=table(folder, PLAIN))
    assert len(read_csv(path=table(folder, PLAIN), test_fraction=0, on_bad_image="skip").train) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,identity\ncrops/a1.jpg,a\n,b\n", "line 3: path is empty"),
        ("path,identity\ncrops/a1.jpg, \n", "line 2: identity is empty"),
        ("path,identity,split\ncrops/a1.jpg,a,train\n\ncrops/a1.jpg,a,probe\n", "line 4: split 'probe'"),
        ("path,identity,split\ncrops/a1.jpg,a,train\ncrops/b1.jpg,b,\n", "line 3: a split is given for some"),
        ("path,identity\ncrops/a1.jpg,a\ncrops/b1.jpg,b,1\n", "line 3: 3 values for the 2 columns"),
        ("path,identity\ncrops/a1.jpg\n", "line 2: 1 value for the 2 columns"),
        ("path,identity\n", "no pictures"),
        ("", "no column path and no column identity; its header is empty"),
        ("path,identity,camra\ncrops/a1.jpg,a,1\n", "has a column 'camra'; if 'camera' is meant"),
        ("path,identity,Color\ncrops/a1.jpg,a,1\n", "if 'colour' is meant"),
        ('path,identity\ncrops/a1.jpg,"' + "a" * 140_000 + '"\n', "line 2: not a line of a table"),
    ],
)
def test_bad_tables_are_clear_errors(folder, text, message):
    with pytest.raises(ReIDError, match=message):
        read_csv(path=table(folder, text))


def test_bad_files_are_clear_errors(folder):
    with pytest.raises(ReIDError, match=r"data.path: .*absent\.csv cannot be read.*No such file"):
        read_csv(path=folder / "absent.csv")
    with pytest.raises(ReIDError, match=r"data\.root: there is no folder"):
        read_csv(path=table(folder, PLAIN), root=folder / "absent")
    with pytest.raises(ReIDError, match="not utf-8"):
        read_csv(path=table(folder, PLAIN + "crops/a1.jpg,für,1\n", encoding="latin-1"))
