"""Rankings as files: the JSON of arXiv 1910.09458's authors.

`{"metric", "aggregation", "tracks": {id: {"class", "ranking": {"1": {"id", "class", "distance"}, ...}}}}`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from reid_lightning.atomic import replacing
from reid_lightning.errors import ReIDError
from reid_lightning.ranking.files import load_json
from reid_lightning.ranking.problem import TRACK_TO_TRACK, RankingProblem
from reid_lightning.ranking.protocols import Ranking
from reid_lightning.ranking.scores import DistanceScores
from reid_lightning.ranking.top_matches import matches_by_chunk


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
    content = load_json(path)
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


def _unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that were there before."""
    times: Counter[str] = Counter()
    found = []
    for name in names:
        times[name] += 1
        found.append(name if times[name] == 1 else f"{name}#{times[name]}")
    return found
