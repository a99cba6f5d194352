"""Embeddings that are larger than memory: read from their files where they are used, ranked as those in memory are."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.evaluator import Evaluation
from reid_lightning.ranking import mapped
from reid_lightning.ranking.files import PIECES, piece_file, read_embeddings, write_embeddings
from reid_lightning.ranking.protocols import ImageToImage
from reid_lightning.ranking.table import EmbeddingTable


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_IN_MEMORY", 0)


def table(rows: int, *, dim: int = 8, seed: int = 0) -> EmbeddingTable:
    embeddings = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    identities = tuple(f"v{row % 7}" for row in range(rows))
    return EmbeddingTable(embeddings, identities, tuple(f"c{row % 3}" for row in range(rows)), model="m")


def pieces_of(whole: EmbeddingTable, folder: Path, *, files: int) -> Path:
    size = -(-len(whole.identities) // files)
    folder.mkdir()
    for number in range(files):
        rows = range(number * size, min((number + 1) * size, len(whole.identities)))
        write_embeddings(folder / piece_file(number), whole.rows(rows))
    (folder / PIECES).write_text(json.dumps({"files": files}))
    return folder


def anonymous_memory() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) << 10


def evaluated(query: Path, gallery: Path, run_dir: Path) -> dict[str, Any]:
    run_dir.mkdir()
    Evaluation(
        protocol=ImageToImage(), batch_size=1, num_workers=0, flip=False, false_match_rate=0.1, pictures=False,
        columns=5, save_embeddings=None, track_table=False,
    ).evaluate_files(query, gallery, run_dir)  # fmt: skip
    files = [json.loads((run_dir / name).read_text()) for name in ("metrics.json", "ranking.json")]
    files[0].pop("data", None)
    return {"metrics": files[0], "ranking": files[1]}


def test_a_folder_is_evaluated_as_one_file_in_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = write_embeddings(tmp_path / "query.safetensors", table(6, seed=1))
    gallery = table(40)
    folder = pieces_of(gallery, tmp_path / "pieces", files=3)
    whole = write_embeddings(tmp_path / "whole.safetensors", gallery)
    assert evaluated(query, folder, tmp_path / "a") == evaluated(query, whole, tmp_path / "b")
    assert sorted(path.name for path in folder.iterdir()) == [*map(piece_file, range(3)), PIECES]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_the_numbers_stay_on_the_disk(tmp_path: Path) -> None:
    folder = pieces_of(table(160_000, dim=256), tmp_path / "pieces", files=3)
    before = anonymous_memory()
    read = read_embeddings(folder)
    assert read.embeddings.nbytes == 160_000 * 256 * 4
    assert anonymous_memory() - before < read.embeddings.nbytes // 3


def test_files_of_several_types_are_joined_as_the_widest(tmp_path: Path) -> None:
    first, second = table(4), table(5, seed=1)
    folder = pieces_of(replace(first, embeddings=first.embeddings.half()), tmp_path / "pieces", files=1)
    write_embeddings(folder / piece_file(1), second)
    (folder / PIECES).write_text(json.dumps({"files": 2}))
    joined = read_embeddings(folder).embeddings
    assert torch.equal(joined, torch.cat([first.embeddings.half().float(), second.embeddings]))


@pytest.mark.parametrize("refused", ["both", "folder"])
def test_a_folder_without_room_is_one_error_when_there_is_no_other(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table(9)
    folder = pieces_of(whole, tmp_path / "pieces", files=2)
    in_file = mapped.tempfile.TemporaryFile

    def refuse(dir: Path | None) -> Any:
        if refused == "both" or dir == folder:
            raise OSError(errno.ENOSPC, "No space left on device")
        return in_file(dir=dir)

    monkeypatch.setattr(mapped.tempfile, "TemporaryFile", refuse)
    if refused == "both":
        with pytest.raises(ReIDError, match=r"pieces: its files cannot be joined.*No space left.*TMPDIR"):
            read_embeddings(folder)
    else:
        assert torch.equal(read_embeddings(folder).embeddings, whole.embeddings)
