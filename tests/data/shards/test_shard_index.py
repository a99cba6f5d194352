"""The index of shards: one that is cut, damaged or lies is one clear error."""

from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest
from toy_shards import contents

from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError


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
        (right_answers([2], [1]), "whole index"),
        (right_answers([0], [0]), "counted"),
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
