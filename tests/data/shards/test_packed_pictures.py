"""A picture in a shard is read as a file is, by any process and any number of threads; damage to it is named."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from layouts import draw_vehicleid, draw_vehiclex
from toy_run import child, exit_codes
from toy_shards import PREPROCESSING, SPLITS

from reid_lightning.data.images.decoding import decode
from reid_lightning.data.images.reading import find_bad_images, load_image
from reid_lightning.data.packed_picture import OPEN_SHARDS, PackedPicture, close_shards
from reid_lightning.data.readers.joined import join_datasets
from reid_lightning.data.readers.vehicleid import read_vehicleid
from reid_lightning.data.readers.vehiclex import read_vehiclex
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError


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
