"""Files of embeddings and of rankings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.drills.damaging import JSON, NPZ, SAFETENSORS
from benchmarks.drills.formats.form import Format, Reported, must
from reid_lightning.ranking.files import read_embeddings, write_embeddings
from reid_lightning.ranking.ranking_files import read_ranking
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.top_matches import matches_by_chunk


def _table() -> EmbeddingTable:
    embeddings = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    identities = ("0002", "0002", "0003", "0003", "0004", "0004")
    cameras = ("c001", "c001", "c002", "c002", "c001", "c001")
    tracks = tuple(f"{identity}_{camera}" for identity, camera in zip(identities, cameras, strict=True))
    return EmbeddingTable(embeddings, identities, cameras, tracks, tuple(map(str, range(6))), "f" * 16)


def _features(suffix: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        table = _table() if suffix != ".json" else replace(_table(), names=None, model="")
        return [write_embeddings(folder / f"features{suffix}", table)]

    return write


def _read_features(folder: Path, path: Path) -> Reported:
    table = read_embeddings(path)
    must(table.embeddings.ndim == 2 and min(table.embeddings.shape) > 0, f"shape {tuple(table.embeddings.shape)}")
    must(bool(torch.isfinite(table.embeddings.double()).all()), "embeddings that are not finite")
    for column in (table.identities, table.cameras, table.tracks, table.names):
        must(column is None or len(column) == len(table.embeddings), "a column of another length")
        must(column is None or all(isinstance(name, str) for name in column), "a name that is no text")
    return ()


def _write_ranking(folder: Path) -> list[Path]:
    lists = {
        f"000{query}_c001": {
            "class": f"000{query}",
            "ranking": {
                str(place): {"id": f"000{item}_c002", "class": f"000{item}", "distance": place / 10}
                for place, item in enumerate((1, 2, 3), start=1)
            },
        }
        for query in (1, 2)
    }
    path = folder / "ranking.json"
    path.write_bytes(JSON.dump({"metric": "MED", "aggregation": "mean", "tracks": lists}))
    return [path]


def _read_ranking(folder: Path, path: Path) -> Reported:
    problem = read_ranking(path)
    queries, gallery = problem.sizes
    must(queries > 0 and gallery > 0, f"{queries} queries and {gallery} items")
    for start, rows, scores in matches_by_chunk(problem, gallery):
        must(bool(torch.isfinite(scores[rows >= 0]).all()), f"scores of query {start} that are not finite")
    return ()


EMBEDDINGS = (
    Format("JSON features", _features(".json"), _read_features, text=True, structure=JSON),
    Format("JSON ranking", _write_ranking, _read_ranking, text=True, structure=JSON),
    Format("npz features", _features(".npz"), _read_features, structure=NPZ),
    Format("safetensors features", _features(".safetensors"), _read_features, structure=SAFETENSORS),
)
