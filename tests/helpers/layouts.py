"""Small data sets in the layouts that their owners hand them out in: flat pictures, a few vehicles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

VEHICLEID_TEST = {"21": 3, "22": 2, "23": 4}
"""Test identity -> pictures, of all three sizes."""


def picture(path: Path, shade: int = 90) -> Path:
    """A flat picture of 8 x 8 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, 90, 255 - shade % 256)).save(path)
    return path


def text(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    """A file of lines that end as on Windows, as most of these lists do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\r\n" for line in lines).encode(encoding))
    return path


def draw_vehicleid(root: Path, *, test: Mapping[str, int] = VEHICLEID_TEST) -> Path:
    """Training vehicles 1 and 2 with three pictures each; the test vehicles of `test` in every list."""
    number, lines = 0, {}
    for identity, count in {"1": 3, "2": 3, **test}.items():
        for _ in range(count):
            number += 1
            picture(root / "image" / f"{number:07d}.jpg", shade=40 * int(identity) + number)
            lines.setdefault("train" if identity in ("1", "2") else "test", []).append(f"{number:07d} {identity}")
    split = root / "train_test_split"
    text(split / "train_list.txt", *lines["train"])
    for size in (800, 1600, 2400):
        text(split / f"test_list_{size}.txt", *lines["test"])
    return root


def draw_veri_wild(root: Path) -> Path:
    """Training vehicle 00001; test vehicles 00011 (cameras 3, 3, 4) and 00012 (cameras 3, 5); one query each."""
    seen = {
        "00001": {"000001": 1, "000002": 2},
        "00011": {"000003": 3, "000004": 3, "000005": 4},
        "00012": {"000006": 3, "000007": 5},
    }
    info = ["id/image;Camera ID;Time;Model;Type;Color"]
    for identity, pictures in seen.items():
        for name, camera in pictures.items():
            picture(root / "images" / identity / f"{name}.jpg", shade=int(name) * 30)
            info.append(f"{identity}/{name};{camera};2018-03-11 11:12:13;Audi A4;SUV;white")
    split = root / "train_test_split"
    text(split / "vehicle_info.txt", *info)
    text(split / "train_list.txt", "00001/000001", "00001/000002")
    for size in (3000, 5000, 10000):
        text(split / f"test_{size}.txt", "00011/000004", "00011/000005", "00012/000007")
        text(split / f"test_{size}_query.txt", "00011/000003", "00012/000006")
    return root


def draw_vric(root: Path) -> Path:
    """Training vehicle 7 with three pictures from two cameras; test vehicles 15 and 16, one probe and one gallery."""
    lists = {
        "train": {
            "MVI_20011_007_img00001.jpg": "7 1",
            "MVI_20011_007_img00009.jpg": "7 1",
            "MVI_20012_007_img00002.jpg": "7 2",
        },
        "probe": {"MVI_20011_015_img00105.jpg": "15 1", "MVI_20011_016_img00105.jpg": "16 1"},
        "gallery": {"MVI_20012_016_img00001.jpg": "16 2", "MVI_20012_015_img00001.jpg": "15 2"},
    }
    for number, (part, lines) in enumerate(lists.items()):
        for name, rest in lines.items():
            picture(root / f"{part}_images" / name, shade=50 * number + len(rest))
        text(root / f"vric_{part}.txt", *(f"{name} {rest}" for name, rest in lines.items()))
    return root


def draw_cityflow(root: Path) -> Path:
    """Ten labelled vehicles 0001 to 0010, each twice under c001 and once under c002; unlabelled query and test."""
    items, tracks = [], []
    for identity in range(1, 11):
        names = [f"{3 * identity + turn:06d}.jpg" for turn in range(3)]
        for name, camera in zip(names, ("c001", "c001", "c002"), strict=True):
            picture(root / "image_train" / name, shade=20 * identity)
            items.append(f'<Item imageName="{name}" vehicleID="{identity:04d}" cameraID="{camera}" />')
        tracks += [f"{names[0]} {names[1]} ", f"{names[2]} "]
    picture(root / "image_query" / "000001.jpg")
    picture(root / "image_test" / "000001.jpg")
    head = ['<?xml version="1.0" encoding="gb2312"?>', '<TrainingImages Version="1.0">', "<!-- 车辆 -->", "<Items>"]
    text(root / "train_label.xml", *head, *items, "</Items>", "</TrainingImages>", encoding="gb2312")
    text(root / "train_track.txt", *tracks)
    return root


def draw_vehiclex(root: Path) -> Path:
    """Rendered vehicles 0001 to 0004, each under two of four cameras."""
    for identity in range(1, 5):
        for camera in (6 + identity % 2, 8 + identity % 2):
            picture(root / "image_train" / f"{identity:04d}_c{camera:03d}_{identity}.jpg", shade=50 * identity)
    return root


def draw_market1501(root: Path) -> Path:
    """Training 0002 and 0007; query and gallery 0003 and 0004, with junk and a distractor in the gallery."""
    names = {
        "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000776_01.jpg", "0007_c3s3_077419_03.jpg"],
        "query": ["0003_c1s1_000001_00.jpg", "0004_c2s1_000001_00.jpg"],
        "bounding_box_test": [
            "-1_c1s1_000401_03.jpg",
            "0000_c1s1_000151_01.jpg",
            "0003_c1s1_000002_01.jpg",
            "0003_c4s6_000002_01.jpg",
            "0004_c5s1_000002_02.jpg",
        ],
    }
    for folder, pictures in names.items():
        for number, name in enumerate(pictures):
            picture(root / folder / name, shade=60 * number)
        (root / folder / "Thumbs.db").write_bytes(b"x")
    return root
