"""Embeddings and rankings as files: the JSON of arXiv 1910.09458's authors, and fast binary forms.

Features are `{track: [[...], ...]}`; a track's name begins with its vehicle and camera, as in "0002_c002". A ranking is
`{"metric", "aggregation", "tracks": {id: {"class", "ranking": {"1": {"id", "class", "distance"}, ...}}}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from reid_lightning.atomic import replacing
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.problem import TRACK_TO_TRACK, RankingProblem
from reid_lightning.ranking.protocols import Ranking
from reid_lightning.ranking.scores import DistanceScores
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.top_matches import top_matches

SUFFIXES = (".json", ".safetensors", ".npz")

_COLUMNS = ("identities", "cameras", "tracks", "names")
_CAMERA = re.compile(r"c?\d+")
_FEATURES = '{"0002_c002": [[0.1, ...], ...], ...}: a list of embeddings for each track <vehicle>_<camera>'


def read_embeddings(path: str | Path) -> EmbeddingTable:
    """Read a .json, .safetensors or .npz file of embeddings.

    Raises:
        ReIDError: no such file, another ending, not what `write_embeddings` writes, rows of different lengths, or
            numbers that are not finite; it names the file and the track.
    """
    path = Path(path)
    readers = {".json": _read_json, ".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ReIDError(f"{path} ends in {path.suffix!r}; expected a file of embeddings: {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise ReIDError(f"no file of embeddings at {path} (seen from {Path.cwd()}).")
    return readers[path.suffix](path)


def write_embeddings(path: str | Path, table: EmbeddingTable) -> Path:
    """Write embeddings in the form that the path's ending says; the file appears whole or not at all.

    .safetensors and .npz keep everything; .json keeps tracks (each picture its own where there are none), with vehicle
    and camera in their names.
    """
    path = Path(path)
    writers = {".json": _write_json, ".safetensors": _write_safetensors, ".npz": _write_npz}
    if path.suffix not in writers:
        raise ReIDError(f"{path} ends in {path.suffix!r}; expected {', '.join(SUFFIXES)}.")
    with replacing(path) as unfinished:
        writers[path.suffix](unfinished, table)
    return path


def write_ranking(
    path: str | Path, ranking: Ranking, *, metric: str, aggregation: str | None = None, top_k: int | None = None
) -> Path:
    """Write a ranking as JSON, junk left out, the `top_k` nearest of each query (None: all of them).

    "metric" is in capitals as the authors have it; "junk" and "protocol" stand beside it. Distances are 1 - cosine for
    cosine similarities.
    """
    problem = ranking.problem
    rows, scores = top_matches(problem, min(top_k or problem.sizes[1], problem.sizes[1]))
    distances = 1 - scores if problem.scores.similarity else -scores
    head = {"metric": metric.upper(), "aggregation": aggregation, "junk": problem.junk_rule}
    head |= {"protocol": problem.protocol}

    with replacing(Path(path)) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "tracks": {')  # a query at a time: the whole can be gigabytes
        for number, (query, identity) in enumerate(zip(ranking.query.names, ranking.query.identities, strict=True)):
            listed = zip(rows[number].tolist(), distances[number].tolist(), strict=True)
            places = {
                str(place): {
                    "id": ranking.gallery.names[row],
                    "class": ranking.gallery.identities[row],
                    "distance": distance,
                }
                for place, (row, distance) in enumerate(listed, start=1)
                if row >= 0
            }
            entry = json.dumps({"class": identity, "ranking": places})
            file.write(f"{',' if number else ''}\n{json.dumps(query)}: {entry}")
        file.write("}}\n")
    return Path(path)


def read_ranking(path: str | Path) -> RankingProblem:
    """Read a ranking for evaluation. What a query's ranking leaves out is junk to it, so a shortened one scores only
    what it lists.

    Raises:
        ReIDError: the file is missing or damaged, or places do not count from 1 upwards; it names the query.
    """
    path = Path(path)
    content = _load_json(path)
    tracks = content.get("tracks") if isinstance(content, Mapping) else None
    if not isinstance(tracks, Mapping) or not tracks:
        raise ReIDError(f'{path} is no ranking; expected {{"metric", "aggregation", "tracks": {{id: ...}}}}.')
    listed: dict[str, list[tuple[str, str]]] = {}
    try:
        for query, entry in tracks.items():
            places = entry["ranking"]
            items = [places[str(place)] for place in range(1, len(places) + 1)]
            listed[query] = [(str(item["id"]), str(item["class"])) for item in items]
        query_ids = [str(entry["class"]) for entry in tracks.values()]
    except (KeyError, TypeError) as error:
        raise ReIDError(
            f'{path}, query {query!r}: expected {{"class", "ranking": {{"1": {{"id", "class", "distance"}}, ...}}}} '
            f"with places from 1 upwards; {error} is missing or of another kind."
        ) from error
    class_of = {name: identity for items in listed.values() for name, identity in items}
    if not class_of:
        raise ReIDError(f"{path} ranks nothing: every list is empty.")
    row_of = {name: row for row, name in enumerate(class_of)}
    places = torch.full((len(listed), len(row_of)), float(len(row_of) + 1))
    for query, items in enumerate(listed.values()):
        for place, (name, _) in enumerate(items, start=1):
            places[query, row_of[name]] = place
    left_out = [(row > len(row_of)).nonzero().flatten().tolist() for row in places]
    metric = " ".join(str(content[key]) for key in ("metric", "aggregation") if content.get(key)).lower()
    return RankingProblem(
        DistanceScores(places, metric=metric or "unknown metric"),
        query_ids=query_ids,
        gallery_ids=list(class_of.values()),
        jk_index=left_out if any(left_out) else None,
        protocol=str(content.get("protocol", TRACK_TO_TRACK)),
    )


def _read_json(path: Path) -> EmbeddingTable:
    content = _load_json(path)
    if not isinstance(content, Mapping) or not content:
        raise ReIDError(f"{path} holds no tracks; expected {_FEATURES}.")
    parts, width = [], None
    for track, pictures in content.items():
        try:
            part = torch.tensor(pictures, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ReIDError(f"{path}, track {track!r}: {error}; expected {_FEATURES}.") from error
        if part.ndim == 1 and len(part):
            part = part[None]  # one picture, written without its list
        width = part.shape[-1] if width is None else width
        if part.ndim != 2 or 0 in part.shape or part.shape[1] != width:
            raise ReIDError(
                f"{path}, track {track!r} has shape {tuple(part.shape)}; expected (pictures, {width}), {_FEATURES}."
            )
        if not torch.isfinite(part).all():
            raise ReIDError(f"{path}, track {track!r} holds NaN or infinity.")
        parts.append(part)
    tracks = tuple(track for track, part in zip(content, parts, strict=True) for _ in range(len(part)))
    cameras = tuple(_camera(track) for track in tracks)
    return EmbeddingTable(
        torch.cat(parts),
        tuple(track.split("_")[0] for track in tracks),
        None if "" in cameras else cameras,
        tracks,
        tuple(f"{track}/{row}" for track, part in zip(content, parts, strict=True) for row in range(len(part))),
    )


def _camera(track: str) -> str:
    """The second word of the track's name where it looks like a camera, else ""."""
    words = track.split("_")
    return words[1] if len(words) > 1 and _CAMERA.fullmatch(words[1]) else ""


def _write_json(path: Path, table: EmbeddingTable) -> None:
    tracks: dict[str, list[list[float]]] = {}
    for row, embedding in enumerate(table.embeddings.tolist()):
        camera = "" if table.cameras is None else f"_{table.cameras[row]}"
        start = f"{table.identities[row]}{camera}"
        own = table.tracks[row] if table.tracks is not None else f"{start}_{row}"
        tracks.setdefault(own if own.startswith(start) else f"{start}_{own}", []).append(embedding)
    path.write_text(json.dumps(tracks), encoding="utf-8")


def _write_safetensors(path: Path, table: EmbeddingTable) -> None:
    columns = {name: json.dumps(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    embeddings = table.embeddings.detach().cpu().contiguous()
    save_file({"embeddings": embeddings}, path, metadata={**columns, "model": table.model})


def _read_safetensors(path: Path) -> EmbeddingTable:
    try:
        with safe_open(path, framework="pt") as file:
            embeddings, columns = file.get_tensor("embeddings"), dict(file.metadata() or {})
        names = {name: tuple(json.loads(columns[name])) for name in _COLUMNS if name in columns}
        return EmbeddingTable(embeddings, **names, model=columns.get("model", ""))
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise ReIDError(f"{path} is no file of embeddings as write_embeddings writes it: {error}.") from error


def _write_npz(path: Path, table: EmbeddingTable) -> None:
    columns = {name: np.array(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    with path.open("wb") as file:
        np.savez(file, embeddings=table.embeddings.detach().cpu().float().numpy(), model=table.model, **columns)


def _read_npz(path: Path) -> EmbeddingTable:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = {name: tuple(file[name].tolist()) for name in _COLUMNS if name in file}
            model = str(file["model"]) if "model" in file else ""
            return EmbeddingTable(torch.from_numpy(file["embeddings"]), **names, model=model)
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged archive
        raise ReIDError(f"{path} is no file of embeddings as write_embeddings writes it: {error}.") from error


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror} (seen from {Path.cwd()}).") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ReIDError(f"{path} is not JSON: {error}.") from error
