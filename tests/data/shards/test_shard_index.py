"""Shards: the same records, batches and figures as from loose files, and no half set, whatever happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import tarfile
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from layouts import draw_vehicleid, draw_vehiclex
from PIL import Image
from running import run_here
from toy_run import assert_equal, child, exit_codes

from reid_lightning.bundle import bundle
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.packed_picture import OPEN_SHARDS, PackedPicture, close_shards
from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.shards import writing
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.tar import TarShards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet import read_synthetic
from reid_lightning.training.datamodule import ReIDDataModule

PREPROCESSING = Preprocessing(32, 32)
SPLITS = ("train", "query", "gallery")


@pytest.fixture(scope="module")
def fleet(fleet_root):
    return read_synthetic(root=fleet_root, size="tiny")


@pytest.fixture(scope="module")
def shards(fleet, tmp_path_factory):
    return write_shards(fleet, tmp_path_factory.mktemp("shards") / "fleet", shard_mib=0.1)


@pytest.fixture
def few(tmp_path):
    """Two training vehicles with two pictures each, and two others; the second training picture is a PNG."""
    images = {}
    for number, name in enumerate(("a_0.jpg", "b_0.png", "a_1.jpg", "b.x_1.jpg", "q.jpg", "g.jpg")):
        path = tmp_path / "loose" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8 + number, 8), (40 * number, 90, 9)).save(path)
        images[name] = VehicleImage(path, name[0], f"c{number % 2}")
    rows = list(images.values())
    return VehicleDataset("few", train=tuple(rows[:4]), query=(rows[4],), gallery=(rows[5], rows[4]))


def contents(dataset: VehicleDataset) -> list:
    """Everything that training and evaluation see of a data set, with pictures as their bytes."""
    splits = [
        [(replace(image, path=None), image.path.read_bytes()) for image in getattr(dataset, split)] for split in SPLITS
    ]
    parts = [contents(part) for part in dataset.parts]
    return [dataset.name, splits, dataset.gt_index, dataset.jk_index, dataset.gallery_draws, parts]


def left_in(folder: Path) -> list[str]:
    """Names in a folder, but for the locks that writers leave."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


# what is written


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


# training and evaluation


def module(dataset, workers):
    return ReIDDataModule(
        dataset,
        PREPROCESSING,
        train_transform=TrainTransform(PREPROCESSING),
        identities_per_batch=3,
        images_per_identity=4,
        sampling="pk",
        eval_batch_size=16,
        num_workers=workers,
        cache_mib=None,
        seed=3,
    )


def two_epochs(dataset, workers, *, resumed_at=None):
    """All batches of two epochs; with `resumed_at` (epoch, batches) only those behind it, from a new loader."""
    loader = module(dataset, workers).train_dataloader()
    epochs = [0, 1]
    if resumed_at is not None:
        loader.load_state_dict({"epoch": resumed_at[0], "batches": resumed_at[1]})
        epochs = epochs[resumed_at[0] :]
    batches = []
    for epoch in epochs:
        loader.batch_sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_loose_files_and_so_is_a_resumed_training(fleet, shards, workers):
    packed = read_shards(root=shards)
    loose = two_epochs(fleet, 0)
    assert_equal(two_epochs(packed, workers), loose)
    in_an_epoch = len(loose) // 2
    assert in_an_epoch > 2
    assert_equal(two_epochs(packed, workers, resumed_at=(1, 2)), loose[in_an_epoch + 2 :])
    assert_equal(list(module(packed, workers).val_dataloader()), list(module(fleet, 0).val_dataloader()))


def test_evaluation_gives_the_same_figures_and_pictures(run_command, small_model, fleet_root, shards, tmp_path):
    bundle.save_bundle(tmp_path / "bundle", small_model, PREPROCESSING, metrics={}, data={})
    readers = {
        "loose": ("data=synthetic", "data.size=tiny", f"data.root={fleet_root}"),
        "packed": ("data=shards", f"data.root={shards}"),
    }
    for name, words in readers.items():
        settings = ("checkpoint=bundle", "evaluation.num_workers=0", f"hydra.run.dir={name}")
        done = run_command("evaluate.py", *settings, *words)
        assert done.returncode == 0, done.stderr
    for file in ("metrics.json", "pictures/hardest_queries.png", "pictures/ranked_lists.png"):
        one, other = ((tmp_path / name / file).read_bytes() for name in readers)
        assert one == other, file


@pytest.fixture
def command(tmp_path):
    def run(name, *words):
        done = run_here(tmp_path, "reid", "data", name, *words)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command_writes_what_the_reader_and_the_report_read(command, fleet, fleet_root, tmp_path):
    words = ("data=synthetic", "data.size=tiny", f"data.root={fleet_root}", "output=out", "shard_mib=1")
    status, output, errors = command("shards", *words)
    assert status == 0, errors
    assert "data=shards" in output and "3 shards" in output
    assert left_in(tmp_path) == ["out"]
    assert contents(read_shards(root=tmp_path / "out")) == contents(fleet)
    status, output, _ = command("report", "data=shards", "data.root=out")
    assert status == 0 and "No problem found" in output
    status, _, errors = command("shards", *words[:3], "output=out")
    assert status == 1 and "exists" in errors and "Traceback" not in errors


def test_mistakes_are_found_before_the_data_is_read(command, tmp_path):
    for words, message in (
        (("output=absent/out",), "absent is no folder that you may write to"),
        (("output=out", "shard_mib=0"), "shard_mib is 0"),
        (("output=out", "shard_mib=big"), "shard_mib is 'big'"),
        ((), "output"),
    ):
        status, _, errors = command("shards", "data=folder", "data.root=nowhere", *words)
        assert status == 1 and message in errors and "nowhere" not in errors
    assert left_in(tmp_path) == []


# a picture in a shard


def test_a_packed_picture_is_read_as_a_file_is(few, tmp_path):
    packed = read_shards(root=write_shards(few, tmp_path / "out"))
    for image, other in zip(packed.train, few.train, strict=True):
        assert np.array_equal(load_image(image.path), load_image(other.path))
        assert np.array_equal(decode(image.path), decode(other.path))
        assert image.path.suffix == other.path.suffix
        assert str(image.path) == str(tmp_path / "out/train-000000.tar" / image.path.name)
    assert find_bad_images([image.path for image in packed.train], decode=True) == {}
    assert len({image.path for image in (*packed.query, *packed.gallery)}) == 2  # the shared one is equal to itself


def read_all() -> None:
    """What a spawned worker does: unpickle, and read."""
    folder = Path(os.environ["SHARDS_FOLDER"])
    paths = pickle.loads((folder / "paths.pickle").read_bytes())
    (folder / "came").write_bytes(b"".join(path.read_bytes() for path in paths))


def test_pictures_travel_to_processes_that_share_nothing(fleet, shards, tmp_path):
    paths = [image.path for image in read_shards(root=shards).train]
    (tmp_path / "paths.pickle").write_bytes(pickle.dumps(paths))
    assert exit_codes(child(read_all, SHARDS_FOLDER=tmp_path)) == [0]
    assert (tmp_path / "came").read_bytes() == b"".join(image.path.read_bytes() for image in fleet.train)


def open_shards(folder: Path) -> int:
    """Descriptors of this process that lead into `folder`."""
    links = (f"/proc/self/fd/{entry}" for entry in os.listdir("/proc/self/fd"))
    return sum(str(folder) in os.readlink(link) for link in links if os.path.islink(link))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="lists open files as Linux does")
def test_open_shards_are_bounded_also_while_threads_read(fleet, tmp_path):
    folder = write_shards(fleet, tmp_path / "out", shard_mib=0.0001)
    packed = read_shards(root=folder, verify=False)
    paths = [image.path for split in SPLITS for image in getattr(packed, split)]
    assert len({path.shard for path in paths}) > OPEN_SHARDS
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(PackedPicture.read_bytes, 4 * paths))
    loose = [image.path.read_bytes() for split in SPLITS for image in getattr(fleet, split)]
    assert read == 4 * loose
    assert 0 < open_shards(folder) <= OPEN_SHARDS
    close_shards()
    assert open_shards(folder) == 0


def test_a_shard_that_the_cache_lets_go_stays_open_until_it_is_read(few, tmp_path, monkeypatch):
    paths = [image.path for image in read_shards(root=write_shards(few, tmp_path / "out")).train]
    read = os.pread

    def late(*arguments):
        close_shards()  # as another thread does that opens many others
        return read(*arguments)

    monkeypatch.setattr(os, "pread", late)
    assert [path.read_bytes() for path in paths] == [image.path.read_bytes() for image in few.train]


# damage


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def test_damaged_pictures_are_named_left_out_or_found_when_their_turn_comes(few, tmp_path):
    folder = write_shards(few, tmp_path / "out")
    bad = read_shards(root=folder).train[2].path
    overwrite(folder / "train-000000.tar", bad.offset + bad.length // 2, b"damage")  # decoders would paint over it
    with pytest.raises(ReIDError, match=rf"train-000000\.tar/{bad.member}: .*checksum differs") as error:
        read_shards(root=folder)
    assert "data.on_bad_image=skip" in str(error.value)
    left = read_shards(root=folder, on_bad_image="skip")
    assert left.skipped == (bad,) and [image.identity for image in left.train] == ["a", "b", "b"]
    path = read_shards(root=folder, verify=False).train[2].path
    for load in (load_image, decode, PREPROCESSING.load):
        with pytest.raises(ReIDError, match=rf"{bad.member} cannot be read: .*checksum differs"):
            load(path)
    with pytest.raises(ReIDError, match="checksum differs"):
        write_shards(read_shards(root=folder, verify=False), tmp_path / "again")
    with pytest.raises(ReIDError, match=r"skip needs data\.verify=true"):
        read_shards(root=folder, verify=False, on_bad_image="skip")


def test_a_damaged_picture_of_a_joined_set_is_left_out_of_the_whole_and_of_its_part(tmp_path):
    parts = {
        "sim": read_vehiclex(root=draw_vehiclex(tmp_path / "x")),
        "vid": read_vehicleid(root=draw_vehicleid(tmp_path / "v"), repeats=1),
    }
    folder = write_shards(join_datasets(sets=parts), tmp_path / "out")
    before = read_shards(root=folder)
    bad = before.parts[0].train[0].path
    overwrite(Path(bad.shard), bad.offset, b"damage")
    after = read_shards(root=folder, on_bad_image="skip")
    assert bad in after.skipped
    for old, new in zip((before, *before.parts), (after, *after.parts), strict=True):
        assert [image.path for image in new.train] == [image.path for image in old.train if image.path != bad]


def test_a_shard_that_shrinks_or_goes_while_it_is_used_is_an_error_with_its_name(few, tmp_path):
    folder = write_shards(few, tmp_path / "out")
    path = read_shards(root=folder).train[0].path
    os.truncate(path.shard, path.offset + 3)
    with pytest.raises(ReIDError, match=rf"{path.member} cannot be read: the shard ends .* before the picture"):
        load_image(path)
    os.remove(path.shard)
    close_shards()
    with pytest.raises(ReIDError, match=rf"{path.member} cannot be read: there is no such file"):
        load_image(path)


def test_a_cut_or_missing_shard_is_found_without_reading_it(few, tmp_path):
    folder = write_shards(few, tmp_path / "out")
    size = (folder / "query-000000.tar").stat().st_size
    os.truncate(folder / "query-000000.tar", size - 512)
    with pytest.raises(ReIDError, match=rf"query-000000\.tar has {size - 512:,} bytes; expected {size:,}"):
        read_shards(root=folder, verify=False)
    (folder / "query-000000.tar").unlink()
    with pytest.raises(ReIDError, match=r"has no query-000000\.tar"):
        read_shards(root=folder, verify=False)


def test_a_folder_without_an_index_is_no_set(tmp_path, few):
    (tmp_path / "outer").mkdir()
    folder = write_shards(few, tmp_path / "outer" / "out")
    with pytest.raises(ReIDError, match=rf"did you mean data\.root={folder}"):
        read_shards(root=tmp_path / "outer")
    with pytest.raises(ReIDError, match="there is no folder"):
        read_shards(root=tmp_path / "absent")


def as_json(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def from_json(array: np.ndarray):
    return json.loads(array.tobytes())


def escaping(arrays):
    head = from_json(arrays["head"])
    head["shards"] = {"../train-000000.tar": 1} | head["shards"]
    arrays["head"] = as_json(head)


def head_with(**changes):
    def change(arrays):
        arrays["head"] = as_json(from_json(arrays["head"]) | changes)

    return change


def one(name, value, row=0):
    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][row] = value

    return change


def put(name, value):
    return lambda arrays: arrays.update({name: value})


def right_answers(rows, counts):
    return lambda arrays: arrays.update({"0_gt_index": np.array(rows), "0_gt_index_counts": np.array(counts)})


def without(name):
    return lambda arrays: arrays.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (head_with(version=2), "is of version 2; this program reads version 1"),
        (head_with(format="other"), "another program"),
        (head_with(sets=[]), "not a whole index"),
        (head_with(sets=[7]), "not a whole index"),
        (head_with(shards=[1]), "not a whole index"),
        (put("head", as_json("text")), "another program"),
        (put("head", np.zeros(9, np.uint8)), "not a whole index"),
        (put("head", np.frombuffer(b"[" * 100_000, np.uint8)), "not a whole index"),
        (escaping, "no name of a shard"),
        (one("offset", 1 << 40), "lies outside its shard"),
        (one("offset", -1), "not a whole index"),
        (one("length", 1 << 62), "lies outside its shard"),
        (one("length", 0), "lies outside its shard"),
        (one("shard", 3), "not a whole index"),
        (one("crc32", -1), "not a whole index"),
        (one("identity", -1), "not a whole index"),
        (one("camera", 2), "not a whole index"),
        (one("0_gallery", 6), "not a whole index"),
        (put("member", as_json(["../../etc/passwd"] + ["a.jpg"] * 5)), "no name of a picture"),
        (put("member", as_json([""] + ["a.jpg"] * 5)), "no name of a picture"),
        (put("member", as_json({"a.jpg": 1})), "not a whole index"),
        (put("identity_names", as_json([1, 2, 3, 4])), "not a whole index"),
        (put("offset", np.zeros(6)), "not a whole index"),
        (put("offset", np.zeros((6, 2), np.int64)), "not a whole index"),
        (put("offset", np.zeros(5, np.int64)), "not a whole index"),
        (put("offset", np.array([{}] * 6)), "not a whole index"),  # pickled
        (put("0_gt_index", np.array([1, 1])), "not a whole index"),
        (
            lambda arrays: arrays.update({"0_gt_index": np.array([2]), "0_gt_index_counts": np.array([1])}),
            "whole index",
        ),
        (lambda arrays: arrays.update({"0_gt_index": np.array([0]), "0_gt_index_counts": np.array([0])}), "counted"),
        (without("0_train"), "0_train"),
        (without("head"), "head"),
    ],
)
def test_an_index_that_lies_is_one_clear_error(few, tmp_path, change, message):
    path = write_shards(few, tmp_path / "out") / "index.npz"
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ReIDError, match=message) as error:
        read_shards(root=path.parent, verify=False)
    assert str(path) in str(error.value)


def test_a_damaged_index_is_one_clear_error_wherever_it_is_hit(few, tmp_path):
    path = write_shards(few, tmp_path / "out") / "index.npz"
    whole = path.read_bytes()
    expected = contents(few)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        kind = generator.integers(3)
        place = int(generator.integers(len(content)))
        if kind == 0:
            del content[place:]
        elif kind == 1:
            content[place] ^= 1 << int(generator.integers(8))
        else:
            content[place : place + 40] = generator.bytes(40)
        path.write_bytes(content)
        try:
            came = read_shards(root=path.parent, verify=False)
        except ReIDError:
            refused += 1
        else:  # what was hit means nothing, such as a time of zip's
            assert contents(came) == expected
    assert refused > 100
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("head.npy", bytes(1 << 20))
    with pytest.raises(ReIDError, match="compressed"):
        read_shards(root=path.parent)


# writing that fails or is killed


def test_nothing_is_left_of_a_writing_that_fails_or_is_interrupted(few, tmp_path, monkeypatch):
    before = left_in(tmp_path)
    (gone := few.train[3].path).rename(hidden := tmp_path / "loose" / "hidden")
    with pytest.raises(ReIDError, match=r"b\.x_1\.jpg cannot be read"):
        write_shards(few, tmp_path / "out")
    hidden.rename(gone)
    for failure, raised in (
        (OSError(28, "No space left on device"), ReIDError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):

        def fail(*_, failure=failure, **__):
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(TarShards, "_append", fail)
            with pytest.raises(raised):
                write_shards(few, tmp_path / "out")
        assert left_in(tmp_path) == before
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(writing.shutil, "disk_usage", lambda _: usage(1000))
        with pytest.raises(ReIDError, match="0 MB free; the shards of 6 pictures need about"):
            write_shards(few, tmp_path / "out")
    with pytest.raises(ReIDError, match="holds no pictures"):
        write_shards(VehicleDataset("none"), tmp_path / "out")
    with pytest.raises(ReIDError, match="loose exists"):
        write_shards(few, tmp_path / "loose")
    with FileLock(tmp_path / ".out.lock"), pytest.raises(ReIDError, match="another process is writing"):
        write_shards(few, tmp_path / "out")
    assert left_in(tmp_path) == before
    assert contents(read_shards(root=write_shards(few, tmp_path / "out"))) == contents(few)


def write_and_die() -> None:
    """Write shards, and be killed at the picture, or the step behind the last one, that the environment names."""
    folder, at = Path(os.environ["SHARDS_FOLDER"]), os.environ["SHARDS_KILLED_AT"]
    dataset = pickle.loads((folder / "dataset.pickle").read_bytes())
    append, calls = TarShards._append, iter(range(1 << 30))

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def append_or_die(self: TarShards, member: str, content: bytes) -> int:
        if next(calls) == int(at):
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            die()
        return append(self, member, content)

    if at == "index":
        writing.save_index = die
    elif at == "rename":
        Path.rename = die
    else:
        TarShards._append = append_or_die
    write_shards(dataset, folder / "out", shard_mib=0.01)


def test_a_killed_writer_leaves_no_set_and_the_next_one_starts_over(few, tmp_path):
    (tmp_path / "dataset.pickle").write_bytes(pickle.dumps(few))
    for at in ("0", "7", "11", "index", "rename"):
        assert exit_codes(child(write_and_die, SHARDS_FOLDER=tmp_path, SHARDS_KILLED_AT=at)) == [-signal.SIGKILL]
        assert ".out.part" in left_in(tmp_path) and "out" not in left_in(tmp_path)  # it was in the middle of it
        with pytest.raises(ReIDError, match="there is no folder"):
            read_shards(root=tmp_path / "out")
        if at != "rename":
            with pytest.raises(ReIDError, match=r"has no index\.npz"):
                read_shards(root=tmp_path / ".out.part")
    folder = write_shards(few, tmp_path / "out", shard_mib=0.01)
    assert left_in(tmp_path) == ["dataset.pickle", "loose", "out"]
    assert contents(read_shards(root=folder)) == contents(few)


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
