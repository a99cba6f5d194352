"""No half set is left, however the writing of shards ends."""

from __future__ import annotations

import os
import pickle
import signal
from collections import namedtuple
from pathlib import Path

import pytest
from filelock import FileLock
from toy_run import child, exit_codes
from toy_shards import contents, left_in

from reid_lightning.data.records import VehicleDataset
from reid_lightning.data.shards import writing
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.data.shards.tar import TarShards
from reid_lightning.data.shards.writing import write_shards
from reid_lightning.errors import ReIDError


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
