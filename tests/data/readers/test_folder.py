"""The folder reader: patterns, lists, real folders, and that the documented command lines arrive intact."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image

from reid_lightning.data.readers import folder as folder_module
from reid_lightning.data.readers.folder import read_folder
from reid_lightning.errors import ReIDError

PATTERN = r"(?P<identity>[a-z]+)_c(?P<camera>\d+)"


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Identities ada, bob and cy under cameras 1 and 2, in two folders, and what else lies around."""
    root = tmp_path / "my crops"
    for part in ("north", "south", "south/.cache"):
        (root / part).mkdir(parents=True)
    for identity in ("ada", "bob", "cy"):
        Image.new("RGB", (8, 8)).save(root / "north" / f"{identity}_c1.jpg")
        Image.new("RGB", (8, 8)).save(root / "south" / f"{identity}_c2.PNG", format="PNG")
    (root / "readme.txt").write_text("x", encoding="utf-8")
    (root / "south" / "._ada_c2.jpg").write_bytes(b"x")
    (root / "south" / ".cache" / "thumb.jpg").write_bytes(b"x")
    return root


def below(root: Path, split) -> list[str]:
    return [image.path.relative_to(root).as_posix() for image in split]


def test_pictures_are_found_sorted_and_named_by_the_pattern(crops):
    dataset = read_folder(root=str(crops), pattern=PATTERN, test_fraction=1)
    assert dataset.name == "my crops"
    assert below(crops, dataset.gallery) == [
        "north/ada_c1.jpg",
        "north/bob_c1.jpg",
        "north/cy_c1.jpg",
        "south/ada_c2.PNG",
        "south/bob_c2.PNG",
        "south/cy_c2.PNG",
    ]
    assert [(image.identity, image.camera) for image in dataset.gallery[2:4]] == [("cy", "1"), ("ada", "2")]
    assert len(dataset.query) == 6 and dataset.train == ()


def test_all_groups_and_groups_that_take_nothing(crops):
    pattern = r"(?P<track>north|south)/(?P<colour>red)?(?P<identity>(?P<type>[a-z])[a-z]+)_c(?P<camera>1|)"
    images = read_folder(root=crops, pattern=pattern, test_fraction=0).train
    assert (images[0].track, images[0].type, images[0].camera, images[0].colour) == ("north", "a", "1", None)
    assert images[3].camera is None, "a group that takes nothing tells nothing"


def test_the_split_group(crops):
    dataset = read_folder(root=crops, pattern=r"(?P<identity>[a-z]+)_c", query_cameras=None, test_fraction=1)
    assert len(dataset.query) == 3 and len(dataset.gallery) == 3
    (crops / "north").rename(crops / "query")
    (crops / "south").rename(crops / "test")
    dataset = read_folder(root=crops, pattern="(?P<split>query|test)/" + PATTERN)
    assert {image.camera for image in dataset.query} == {"1"}
    assert {image.camera for image in dataset.gallery} == {"2"}


def test_links_are_followed_and_circles_left(crops):
    (crops / "south" / "back").symlink_to(crops)
    assert len(read_folder(root=crops, pattern=PATTERN, test_fraction=0).train) == 6


def test_lists_choose_the_pictures(crops):
    (crops / "train.txt").write_text("ada_c1.jpg\r\n./south/ada_c2.PNG\r\n\r\n", encoding="utf-8-sig")
    (crops / "val.txt").write_text("north/cy_c1.jpg\ncy_c2.PNG", encoding="utf-8")
    dataset = read_folder(root=crops, pattern=PATTERN, train_list="train.txt", test_list="val.txt")
    assert below(crops, dataset.train) == ["north/ada_c1.jpg", "south/ada_c2.PNG"]
    assert below(crops, dataset.gallery) == ["north/cy_c1.jpg", "south/cy_c2.PNG"]
    only_train = read_folder(root=crops, pattern=PATTERN, train_list="train.txt")
    assert {image.identity for image in only_train.gallery} == {"bob", "cy"}
    only_test = read_folder(root=crops, pattern=PATTERN, test_list="val.txt")
    assert {image.identity for image in only_test.train} == {"ada", "bob"}


def test_pictures_on_no_list_need_not_match(crops):
    Image.new("RGB", (8, 8)).save(crops / "logo.png")
    (crops / "train.txt").write_text("ada_c1.jpg\n", encoding="utf-8")
    (crops / "val.txt").write_text("cy_c1.jpg\ncy_c2.PNG\n", encoding="utf-8")
    assert len(read_folder(root=crops, pattern=PATTERN, train_list="train.txt", test_list="val.txt").train) == 1


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("ada_c1.jpg\nnobody.jpg\n", "cy_c1.jpg\n", r"train\.txt, line 2: 'nobody.jpg' is no picture below data.root"),
        ("ada_c1.jpg\n", "north/ada_c1.jpg\n", "1 picture is in data.train_list and in data.test_list"),
        ("\n", "cy_c1.jpg\n", "names no picture"),
        ("same_c1.jpg\n", "cy_c1.jpg\n", "line 1: 'same_c1.jpg' is the name of 2 pictures"),
        (None, "cy_c1.jpg\n", r"data.train_list: .*train\.txt cannot be read"),
    ],
)
def test_lists_that_do_not_fit(crops, train, test, message):
    for part in ("north", "south"):
        Image.new("RGB", (8, 8)).save(crops / part / "same_c1.jpg")
    for name, text in (("train.txt", train), ("val.txt", test)):
        if text is not None:
            (crops / name).write_text(text, encoding="utf-8")
    with pytest.raises(ReIDError, match=message):
        read_folder(root=crops, pattern=PATTERN, train_list="train.txt", test_list="val.txt")


def test_lists_and_a_fold_exclude_each_other(crops):
    (crops / "train.txt").write_text("ada_c1.jpg\n", encoding="utf-8")
    with pytest.raises(ReIDError, match=r"data\.fold=1/3 divides the identities.*data\.train_list=null"):
        read_folder(root=crops, pattern=PATTERN, train_list="train.txt", fold="1/3")


def test_lists_and_a_split_group_exclude_each_other(crops):
    (crops / "train.txt").write_text("ada_c1.jpg\n", encoding="utf-8")
    with pytest.raises(ReIDError, match="use one of the two"):
        read_folder(root=crops, pattern="(?P<split>north|south)/" + PATTERN, train_list="train.txt")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"(?P<identity>[a-z]+)_c1", r"3 of 6 picture names do not match data.pattern, such as 'south/ada_c2.PNG'"),
        (r"(?P<identity>[A-Z]*)", "6 of 6 picture names do not match"),
        (r"(?P<identity>[a-z+)", "is not a regular expression: unterminated character set"),
        (r"([a-z]+)_c(?P<camera>\d)", "has no group named identity"),
        (r"(?P<identity>[a-z]+)_c(?P<cam>\d)", r"has a group named cam; expected .*identity.* camera, track"),
        (r"(?P<split>north|south)/(?P<identity>[a-z]+)", "split group of data.pattern took 'north'"),
    ],
)
def test_bad_patterns_are_clear_errors(crops, pattern, message):
    with pytest.raises(ReIDError, match=message) as caught:
        read_folder(root=crops, pattern=pattern)
    if "match" in message:
        assert pattern in str(caught.value)
        assert """'data.pattern="(?P<identity>""" in str(caught.value), "an example that can be pasted"


def test_bad_roots_are_clear_errors(tmp_path):
    with pytest.raises(ReIDError, match=r"data\.root: there is no folder .*absent"):
        read_folder(root=tmp_path / "absent", pattern=PATTERN)
    with pytest.raises(ReIDError, match="holds no pictures"):
        read_folder(root=tmp_path, pattern=PATTERN)


def test_unreadable_pictures(crops):
    (crops / "north" / "ada_c1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ReIDError, match=r"1 of the 6 pictures[\s\S]*ada_c1\.jpg[\s\S]*data.on_bad_image=skip"):
        read_folder(root=crops, pattern=PATTERN)
    dataset = read_folder(root=crops, pattern=PATTERN, test_fraction=0, on_bad_image="skip")
    assert dataset.skipped == (crops / "north" / "ada_c1.jpg",) and len(dataset.train) == 5


@pytest.mark.parametrize(
    ("name", "identity", "camera"),
    [
        ("0002_c003_00084280_0.jpg", "0002", "003"),
        ("car_0088_cam2.jpg", "car_0088", "2"),
        ("0002_c1s2_5.jpg", "0002", "1"),
        ("day_1/van_c04.png", "van", "04"),
    ],
)
def test_the_default_pattern(tmp_path, project, name, identity, camera):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    pattern = yaml.safe_load((project / "conf/data/folder.yaml").read_text(encoding="utf-8"))["pattern"]
    (image,) = read_folder(root=tmp_path, pattern=pattern, test_fraction=0).train
    assert (image.identity, image.camera) == (identity, camera)


def documented_commands() -> list[list[str]]:
    """The words a shell makes of the commands in the module's docstring."""
    text = folder_module.__doc__.replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.lstrip().startswith(("python ", "reid "))]


COMPOSE = (
    "import sys, json; from hydra import compose, initialize_config_dir; from omegaconf import OmegaConf\n"
    "with initialize_config_dir(config_dir=sys.argv[1], version_base='1.3'):\n"
    "    cfg = compose('report', overrides=sys.argv[2:])\n"
    "print(json.dumps(OmegaConf.to_container(cfg.data, resolve=True)))\n"
)


def compose(project: Path, overrides: list[str]) -> dict:
    """The data settings that Hydra, in a process of its own, makes of command line words."""
    done = subprocess.run(
        [sys.executable, "-c", COMPOSE, str(project / "conf"), *overrides],
        capture_output=True,
        text=True,
        cwd=project,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def test_the_documented_command_reads_twocam_train(shared_data, project):
    words = documented_commands()[0]
    settings = compose(project, [word for word in words if word.startswith("data")])
    assert settings.pop("_target_") == "reid_lightning.data.readers.folder.read_folder"
    assert settings["pattern"] == r"(?P<identity>(?P<type>[a-z]+)_\d+)_cam(?P<camera>\d+)"
    assert settings["root"] == "../shared/data/twocam_train"
    dataset = read_folder(**settings | {"root": shared_data / "twocam_train"})
    assert [len(split) for split in (dataset.train, dataset.query, dataset.gallery)] == [810, 102, 102]
    assert {image.camera for image in dataset.query} == {"1"}
    assert {image.camera for image in dataset.gallery} == {"2"}
    assert {image.identity for image in dataset.query} == {image.identity for image in dataset.gallery}
    assert not {image.identity for image in dataset.train} & {image.identity for image in dataset.query}
    assert set(Counter(image.identity for image in dataset.train).values()) == {2}
    assert {image.type for image in dataset.train} == {"car", "motorcycle", "truck", "bus"}


def test_the_documented_command_reads_veri_sample(shared_data, project):
    words = documented_commands()[1]
    settings = compose(project, [word for word in words if word.startswith("data")])
    assert settings.pop("_target_") == "reid_lightning.data.readers.folder.read_folder"
    dataset = read_folder(**settings | {"root": shared_data / "veri_sample" / "image_sample"})
    assert len(dataset.train) == 0 and len(dataset.query) + len(dataset.gallery) == 57
    assert len({image.identity for image in dataset.query}) == 4
    assert {image.path.parts[-3] for image in dataset.query} == {"query_tracks"}
    assert {image.track for image in dataset.query}.isdisjoint({image.track for image in dataset.gallery})
    assert all(image.track == f"{image.identity}_c{image.camera}" for image in dataset.gallery)
