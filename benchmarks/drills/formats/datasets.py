"""Data sets: VeRi-776's labels and lists, a CSV table, shards."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.drills.damaging import NPZ
from benchmarks.drills.formats.form import Format, Reported, must, noise
from reid_lightning.data.readers.csv_table import read_csv
from reid_lightning.data.readers.veri import read_veri
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards


def _write_veri(folder: Path) -> None:
    train = ["0001_c001_00000010_0.jpg", "0001_c002_00000020_0.jpg", "0005_c001_00000030_0.jpg"]
    test = [
        f"{name}_000000{row}0_0.jpg" for row, name in enumerate(("0002_c001", "0002_c002", "0003_c001", "0003_c003"))
    ]
    query = [test[0], test[2]]
    for part, names in (("train", train), ("query", query), ("test", test)):
        (folder / f"image_{part}").mkdir()
        for name in names:
            noise(8, 8).save(folder / f"image_{part}" / name)
        (folder / f"name_{part}.txt").write_text("".join(f"{name}\r\n" for name in names), encoding="utf-8")
        items = "".join(
            f'<Item imageName="{name}" vehicleID="{name[:4]}" cameraID="{name[5:9]}" colorID="3" typeID="2" />\n'
            for name in names
        )
        head = '<?xml version="1.0" encoding="gb2312" ?>\n<TrainingImages Version="1.0">\n'
        if part != "query":
            text = f'{head}<Items number="{len(names)}">\n{items}</Items>\n</TrainingImages>\n'
            (folder / f"{part}_label.xml").write_text(text, encoding="gb2312")
    tracks = "".join(f"{name[:9]}_t{row} {name}\n" for row, name in enumerate(test))
    (folder / "test_track.txt").write_text(tracks, encoding="utf-8")
    (folder / "gt_index.txt").write_text("2 \n4 \n", encoding="utf-8")
    (folder / "jk_index.txt").write_text("1 \n3 \n", encoding="utf-8")
    (folder / "list_color.txt").write_text("1 yellow\n2 orange\n3 green\n", encoding="utf-8")


def _write_xml(folder: Path) -> list[Path]:
    _write_veri(folder)
    return [folder / "train_label.xml", folder / "test_label.xml"]


def _write_lists(folder: Path) -> list[Path]:
    _write_veri(folder)
    names = ("name_train", "name_query", "name_test", "test_track", "gt_index", "jk_index", "list_color")
    return [folder / f"{name}.txt" for name in names]


def _read_veri(folder: Path, path: Path) -> Reported:
    _check_dataset(read_veri(root=folder), folder)
    return ()


def _check_dataset(dataset: VehicleDataset, root: Path | None = None) -> None:
    for image in (*dataset.train, *dataset.query, *dataset.gallery):
        must(bool(image.identity), "a picture without an identity")
        for value in (image.identity, image.camera, image.track, image.colour, image.type, image.viewpoint):
            must(value is None or isinstance(value, str), f"{value!r} is no name")
        if root is not None:
            must(Path(image.path).resolve().is_relative_to(root.resolve()), f"{image.path} lies outside {root}")
    for index in (dataset.gt_index, dataset.jk_index):
        must(index is None or len(index) == len(dataset.query), "an index of another length than the queries")
        rows = [row for rows in index or () for row in rows]
        must(all(0 <= row < len(dataset.gallery) for row in rows), "an index outside the gallery")


def _write_csv(folder: Path) -> list[Path]:
    rows = ["path,identity,camera,track,split,colour"]
    for row in range(8):
        noise(8, 8, seed=row).save(folder / f"{row}.png")
        split = ("train", "query", "gallery", "gallery")[row % 4]
        rows.append(f"{row}.png,v{row // 4 + 4 * (split == 'train')},c{row % 2},t{row},{split},red")
    (folder / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return [folder / "table.csv"]


def _read_csv(folder: Path, path: Path) -> Reported:
    _check_dataset(read_csv(path=path))
    return ()


def _write_shards(folder: Path) -> Path:
    images = []
    for row in range(6):
        path = folder / f"{row}.png"
        noise(8, 8, seed=row).save(path)
        images.append(VehicleImage(path, f"v{row % 2}", f"c{row % 3}"))
    dataset = VehicleDataset(
        "noise", train=tuple(images), query=tuple(images[:2]), gallery=tuple(images[2:]), gt_index=((0,), (1, 3))
    )
    return write_shards(dataset, folder / "shards", shard_mib=0.01)


def _write_shard_files(folder: Path) -> list[Path]:
    return sorted(_write_shards(folder).glob("*.tar"))


def _write_shard_index(folder: Path) -> list[Path]:
    return [_write_shards(folder) / "index.npz"]


def _read_shards(folder: Path, path: Path) -> Reported:
    dataset = read_shards(root=folder / "shards")
    for image in (*dataset.train, *dataset.query, *dataset.gallery):
        must(bool(image.identity), "a picture without an identity")
        pixels = np.asarray(Image.open(io.BytesIO(image.path.read_bytes())).convert("RGB"))
        must(pixels.shape == (8, 8, 3), f"a picture of {pixels.shape}")
    must(dataset.gt_index is None or len(dataset.gt_index) == len(dataset.query), "an index of another length")
    return ()


DATASETS = (
    Format("XML labels", _write_xml, _read_veri, text=True),
    Format("VeRi lists and index files", _write_lists, _read_veri, text=True),
    Format("CSV", _write_csv, _read_csv, text=True),
    Format("shard tar", _write_shard_files, _read_shards),
    Format("shard index", _write_shard_index, _read_shards, structure=NPZ),
)
