"""The same records from shards as from loose files, in plain tar files that depend on the data alone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile

from layouts import draw_vehicleid, draw_vehiclex
from PIL import Image
from toy_shards import contents, left_in

from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards


def test_the_data_set_comes_back_in_its_order_with_every_name_and_byte(fleet, shards):
    assert fleet.gt_index is not None
    assert contents(read_shards(root=shards)) == contents(fleet)
    assert contents(read_shards(root=shards, verify=False)) == contents(fleet)


def test_galleries_by_draw_and_joined_sets_come_back(tmp_path):
    parts = {
        "vid": read_vehicleid(root=draw_vehicleid(tmp_path / "v"), repeats=3),
        "sim": read_vehiclex(root=draw_vehiclex(tmp_path / "x")),
    }
    joined = join_datasets(sets=parts)
    assert len(joined.gallery_draws) == 3 and len(joined.parts) == 2
    assert contents(read_shards(root=write_shards(joined, tmp_path / "out"))) == contents(joined)


def test_a_shard_is_a_plain_tar_file_in_webdatasets_layout(few, tmp_path):
    folder = write_shards(few, tmp_path / "out")
    assert left_in(folder) == ["SHA256SUMS", "gallery-000000.tar", "index.npz", "query-000000.tar", "train-000000.tar"]
    with tarfile.open(folder / "train-000000.tar") as tar:
        samples = {}
        for member in tar:
            key, ending = member.name.split(".", 1)  # WebDataset ends a key at the first dot
            samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
        assert all(list(samples[key])[1] == "json" for key in samples)  # behind its picture
    assert len({key.split("_")[0] for key in samples}) == len(samples) == 4
    by_source = {json.loads(sample["json"])["source"]: sample for sample in samples.values()}
    assert set(by_source) == {"a_0.jpg", "b_0.png", "a_1.jpg", "b.x_1.jpg"}
    for image in few.train:
        sample = by_source[image.path.name]
        assert sample[image.path.suffix[1:]] == image.path.read_bytes()
        known = {"identity": image.identity, "camera": image.camera, "splits": ["train"], "source": image.path.name}
        assert json.loads(sample["json"]) == known
    with tarfile.open(folder / "query-000000.tar") as tar:  # in query and gallery, and stored once
        assert json.load(tar.extractfile(tar.getmembers()[1]))["splits"] == ["query", "gallery"]
    with tarfile.open(folder / "gallery-000000.tar") as tar:
        assert len(tar.getmembers()) == 2
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True).returncode == 0


def test_shards_keep_to_their_size_and_an_identitys_pictures_together(fleet, shards):
    sizes = [path.stat().st_size for path in shards.glob("*.tar")]
    assert len(sizes) > 6 and max(sizes) <= 0.1 * 2**20
    places = sorted((image.path.shard, image.path.offset, image.identity) for image in read_shards(root=shards).train)
    runs = [place[2] for number, place in enumerate(places) if not number or place[2] != places[number - 1][2]]
    assert len(runs) == len(set(runs)) == 8 and runs != sorted(runs)


def test_a_picture_larger_than_a_shard_gets_one_of_its_own(few, tmp_path):
    folder = write_shards(few, tmp_path / "out", shard_mib=0.0001)
    assert len(list(folder.glob("*.tar"))) == 6
    assert contents(read_shards(root=folder)) == contents(few)


def test_the_bytes_depend_on_the_data_alone_and_shards_can_be_written_of_shards(few, tmp_path):
    first, second = (write_shards(few, tmp_path / name) for name in ("first", "second"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    again = write_shards(read_shards(root=first), tmp_path / "again")
    assert contents(read_shards(root=again)) == contents(few)


def test_names_that_files_allow_and_members_do_not_are_no_obstacle(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    images = []
    for name in ("Škoda 1.JPG", "b\nc.jpeg", "-" * 200 + ".jpg", "no ending", ".hidden", os.fsdecode(b"\xff.jpg")):
        path = tmp_path / "loose" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(buffer.getvalue())
        images.append(VehicleImage(path, name, None))
    dataset = VehicleDataset("Š", train=tuple(images))
    assert contents(read_shards(root=write_shards(dataset, tmp_path / "out"))) == contents(dataset)
