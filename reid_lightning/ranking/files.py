"""Embeddings and rankings as files: the JSON of arXiv 1910.09458's authors, and fast binary forms.

Features are `{track: [[...], ...]}`; a track's name begins with its vehicle and camera, as in "0002_c002". A ranking is
`{"metric", "aggregation", "tracks": {id: {"class", "ranking": {"1": {"id", "class", "distance"}, ...}}}}`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from reid_lightning.atomic import replacing
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.ranking.checks import check_embeddings
from reid_lightning.ranking.problem import TRACK_TO_TRACK, RankingProblem
from reid_lightning.ranking.protocols import Ranking
from reid_lightning.ranking.scores import DistanceScores
from reid_lightning.ranking.table import EmbeddingTable
from reid_lightning.ranking.top_matches import matches_by_chunk
from reid_lightning.untrusted.names import composed

SUFFIXES = (".json", ".safetensors", ".npz")

_UNPACKED_AT_LEAST, _UNPACKED_TIMES = 1 << 26, 50  # an .npz may be compressed, and numbers pack little
_COLUMNS = ("identities", "cameras", "tracks", "names")
_CAMERA = re.compile(r"c?\d+")
_FEATURES = '{"0002_c002": [[0.1, ...], ...], ...}: a list of embeddings for each track <vehicle>_<camera>'


def read_embeddings(path: str | Path) -> EmbeddingTable:
    """Read a .json, .safetensors or .npz file of embeddings.

    Binary files hold `embeddings` (pictures, dim) and, as arrays of text (npz) or JSON lists in the metadata
    (safetensors), `identities` and where known `cameras`, `tracks`, `names` and `model`.

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
    try:
        table = readers[path.suffix](path)
    except ReIDError as error:
        raise ReIDError(f"{path}: {error}") from error
    check_embeddings(f"{path}: embeddings", table.embeddings)

    def compose(names: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(map(composed, names))

    identities = compose(table.identities) or ()
    return replace(table, identities=identities, cameras=compose(table.cameras), tracks=compose(table.tracks))


def write_embeddings(path: str | Path, table: EmbeddingTable) -> Path:
    """Write embeddings in the form that the path's ending says; the file appears whole or not at all.

    .safetensors and .npz keep everything (npz knows no bfloat16 and holds float32 instead). .json keeps tracks, each
    picture its own where there are none, with vehicle and camera in their names: ReIDError where a name cannot say so.
    """
    path = Path(path)
    writers = {".json": _write_json, ".safetensors": _write_safetensors, ".npz": _write_npz}
    if path.suffix not in writers:
        raise ReIDError(f"{path} ends in {path.suffix!r}; expected {', '.join(SUFFIXES)}.")
    with replacing(path) as unfinished:
        writers[path.suffix](unfinished, table)
    return path


def write_ranking(path: str | Path, ranking: Ranking, *, top_k: int | None = None) -> Path:
    """Write a ranking as JSON, junk left out, the `top_k` nearest of each query (None: all of them).

    "metric" is in capitals as the authors have it; "described", "protocol", "junk" and "top_k" say the rest. Distances
    are 1 - cosine for cosine similarities. Items of equal names get a number.
    """
    problem = ranking.problem
    head = {
        "metric": ranking.metric.upper(),
        "aggregation": ranking.aggregation,
        "described": problem.scores.metric,
        "protocol": problem.protocol,
        "junk": problem.junk_rule,
        "top_k": top_k,
    }
    queries, gallery = _unique(ranking.query.names), _unique(ranking.gallery.names)
    with replacing(Path(path)) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "tracks": {')
        for start, rows, scores in matches_by_chunk(problem, top_k or problem.sizes[1]):
            distances = 1 - scores if problem.scores.similarity else -scores
            for query, listed in enumerate(zip(rows.tolist(), distances.tolist(), strict=True), start=start):
                places = {
                    str(place): {"id": gallery[row], "class": ranking.gallery.identities[row], "distance": distance}
                    for place, (row, distance) in enumerate(zip(*listed, strict=True), start=1)
                    if row >= 0
                }
                entry = json.dumps({"class": ranking.query.identities[query], "ranking": places})
                file.write(f"{',' if query else ''}\n{json.dumps(queries[query])}: {entry}")
        file.write("}}\n")
    return Path(path)


def read_ranking(path: str | Path) -> RankingProblem:
    """Read a whole ranking for evaluation. What a query's list leaves out counts as junk to it.

    Raises:
        ReIDError: the file is missing or damaged, was shortened to its `top_k`, places do not count from 1 upwards, or
            items repeat or change their class; it names the query.
    """
    path = Path(path)
    content = _load_json(path)
    tracks = content.get("tracks") if isinstance(content, Mapping) else None
    if not isinstance(tracks, Mapping) or not tracks:
        raise ReIDError(f'{path} is no ranking; expected {{"metric", "aggregation", "tracks": {{id: ...}}}}.')
    if content.get("top_k") is not None:
        raise ReIDError(
            f"{path} keeps the first {content['top_k']} of each ranking only, so what it scores would be too high. "
            "Write it whole with protocol.top_k=null."
        )
    listed: dict[str, list[str]] = {}
    class_of: dict[str, str] = {}
    for query, entry in tracks.items():
        try:
            items = [entry["ranking"][str(place)] for place in range(1, len(entry["ranking"]) + 1)]
            named = [(str(item["id"]), str(item["class"])) for item in items]
            entry["class"]
        except (KeyError, TypeError) as error:
            raise ReIDError(
                f"{path}, query {query!r}: expected "
                '{"class", "ranking": {"1": {"id", "class", "distance"}, ...}} '
                f"with places from 1 upwards; {error} is missing or of another kind."
            ) from error
        listed[query] = [name for name, _ in named]
        wrong = next((name for name, identity in named if class_of.setdefault(name, identity) != identity), None)
        if wrong is not None or len(set(listed[query])) < len(named):
            what = f"{wrong!r} is of two classes" if wrong is not None else "an item is listed twice"
            raise ReIDError(f"{path}, query {query!r}: {what}; every gallery item needs a name of its own.")
    if not class_of:
        raise ReIDError(f"{path} ranks nothing: every list is empty.")
    row_of = {name: row for row, name in enumerate(class_of)}
    places = torch.full((len(listed), len(row_of)), float(len(row_of) + 1))
    for query, names in enumerate(listed.values()):
        places[query, [row_of[name] for name in names]] = torch.arange(1.0, len(names) + 1)
    left_out = [(row > len(row_of)).nonzero().flatten().tolist() for row in places]
    said = [content[key] for key in ("metric", "aggregation") if isinstance(content.get(key), str)]
    words = content.get("described") or " ".join(filter(None, said)).lower()
    return RankingProblem(
        DistanceScores(places, metric=str(words or "unknown metric")),
        query_ids=[str(entry["class"]) for entry in tracks.values()],
        gallery_ids=list(class_of.values()),
        jk_index=left_out if any(left_out) else None,
        jk_name=str(content.get("junk", "what the ranking leaves out")),
        protocol=str(content.get("protocol", TRACK_TO_TRACK)),
    )


def _read_json(path: Path) -> EmbeddingTable:
    content = _load_json(path)
    if not isinstance(content, Mapping) or not content:
        raise ReIDError(f"no tracks in it; expected {_FEATURES}.")
    parts, width = [], None
    for track, pictures in content.items():
        try:
            part = torch.tensor(pictures, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ReIDError(f"track {track!r}: {error}; expected {_FEATURES}.") from error
        if part.ndim == 1 and len(part):
            part = part[None]  # one picture, written without its list
        width = part.shape[-1] if width is None and part.ndim else width
        if part.ndim != 2 or 0 in part.shape or part.shape[1] != width:
            raise ReIDError(
                f"track {track!r} has shape {tuple(part.shape)}; expected (pictures, {width}), {_FEATURES}."
            )
        if not torch.isfinite(part).all():
            raise ReIDError(f"track {track!r} holds NaN or infinity.")
        parts.append(part)
    tracks = tuple(track for track, part in zip(content, parts, strict=True) for _ in range(len(part)))
    identities, cameras = zip(*map(_parsed, tracks), strict=True)
    return EmbeddingTable(torch.cat(parts), identities, None if "" in cameras else cameras, tracks)


def _parsed(track: str) -> tuple[str, str]:
    """Vehicle and camera of a track by its name: its first word, and its second one where it looks like a camera."""
    words = track.split("_")
    return words[0], words[1] if len(words) > 1 and _CAMERA.fullmatch(words[1]) else ""


def _write_json(path: Path, table: EmbeddingTable) -> None:
    tracks: dict[str, list[list[float]]] = {}
    cameras = table.cameras or ("",) * len(table.identities)
    own_names = table.tracks or tuple(map(str, range(len(table.identities))))
    columns = zip(table.embeddings.tolist(), table.identities, cameras, own_names, strict=True)
    for embedding, identity, camera, own in columns:
        name = own if _parsed(own) == (identity, camera) else f"{identity}_{camera or 'track'}_{own}"
        if _parsed(name) != (identity, camera):
            raise ReIDError(
                f"the name {name!r} does not say vehicle {identity!r} and camera {camera!r}, as JSON features must: "
                "<vehicle>_c<number>, no _ in either. Write .safetensors or .npz instead."
            )
        tracks.setdefault(name, []).append(embedding)
    path.write_text(json.dumps(tracks), encoding="utf-8")


def _write_safetensors(path: Path, table: EmbeddingTable) -> None:
    columns = {name: json.dumps(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    embeddings = table.embeddings.detach().cpu().contiguous()
    save_file({"embeddings": embeddings}, path, metadata={**columns, "model": table.model})


def _read_safetensors(path: Path) -> EmbeddingTable:
    try:
        with safe_open(path, framework="pt") as file:
            embeddings, columns = file.get_tensor("embeddings"), dict(file.metadata() or {})
        names = {name: _text(name, json.loads(columns[name])) for name in _COLUMNS if name in columns}
        return EmbeddingTable(embeddings, **names, model=columns.get("model", ""))
    except (SafetensorError, TypeError, ValueError, OSError) as error:
        raise ReIDError(f"not a file of embeddings as write_embeddings writes it: {shortened(error, 300)}.") from error


def _write_npz(path: Path, table: EmbeddingTable) -> None:
    columns = {name: np.array(getattr(table, name)) for name in _COLUMNS if getattr(table, name) is not None}
    embeddings = table.embeddings.detach().cpu()
    embeddings = embeddings.float() if embeddings.dtype == torch.bfloat16 else embeddings
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, embeddings=embeddings.numpy(), model=table.model, **columns)


def _read_npz(path: Path) -> EmbeddingTable:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _UNPACKED_AT_LEAST + _UNPACKED_TIMES * path.stat().st_size:
            raise ReIDError(f"it unpacks to {unpacked:,} bytes, far more than embeddings do.")
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in file}
        names = {name: _text(name, columns[name].tolist()) for name in _COLUMNS if name in columns}
        model = str(columns["model"]) if "model" in columns else ""
        return EmbeddingTable(torch.from_numpy(columns["embeddings"]), **names, model=model)
    except ReIDError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged archive
        raise ReIDError(f"not a file of embeddings as write_embeddings writes it: {shortened(error, 300)}.") from error


def _text(name: str, values: Any) -> tuple[str, ...]:
    """A column of names; whole numbers are taken as text."""
    if not isinstance(values, list) or not all(type(value) in (str, int) for value in values):
        raise ReIDError(f"{name} is {str(values)[:60]}; expected a list of texts, one for each embedding.")
    return tuple(map(str, values))


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that were there before."""
    times: Counter[str] = Counter()
    found = []
    for name in names:
        times[name] += 1
        found.append(name if times[name] == 1 else f"{name}#{times[name]}")
    return found


def _load_json(path: Path) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            repeated = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise ReIDError(f"{path} holds {repeated!r} twice; every track needs a name of its own.")
        return content

    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror} (seen from {Path.cwd()}).") from error
    except (ValueError, RecursionError) as error:
        raise ReIDError(f"{path} is not JSON: {error}.") from error
