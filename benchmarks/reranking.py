"""Claim: k-reciprocal re-ranking at VeRi-776's size in an eighth of the rivals' CPU time and a fifth of their memory.

python benchmarks/reranking.py [fastreid=<clone>] [torchreid=<clone>] [transreid=<clone>] [queries=1678] [gallery=11579]
                               [threads=1] [turns=1] [output=benchmarks/results]
At full size every rival takes one to two minutes and 4 GiB.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from contest import Contestant, Embeddings, Score, contest, veri
from omegaconf import OmegaConf
from torch import Tensor

from reid_lightning.ranking.average_precision import evaluate_distances, evaluate_retrieval
from reid_lightning.ranking.rerank import k_reciprocal_rerank

OURS = "reid_lightning"
SETTINGS = {"k1": 20, "k2": 6, "lambda_value": 0.3}
NOISE = 4.7  # harder than in other benchmarks, where re-ranking makes the drawn embeddings perfect


@dataclass(frozen=True)
class Task:
    """What a contestant is timed on; `code` is the rival's module."""

    data: Embeddings
    code: ModuleType | None = None

    @property
    def names(self) -> dict[str, Tensor]:
        """Identities and cameras of both sides, as evaluations take them."""
        fields = ("query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
        return {field: getattr(self.data, field) for field in fields}

    def judge(self, distances: Tensor) -> dict[str, float]:
        """The same evaluation for everybody."""
        return {"mAP": evaluate_distances(distances, **self.names).mAP}


def first_ranking(task: Task) -> dict[str, float]:
    """What there is to improve: the ranking by Euclidean distance."""
    return {"mAP": evaluate_retrieval(task.data.query, task.data.gallery, metric="euclidean", **task.names).mAP}


def ours(task: Task) -> dict[str, float]:
    """Takes embeddings."""
    return task.judge(k_reciprocal_rerank(task.data.query, task.data.gallery, **SETTINGS))


def fastreid(task: Task) -> dict[str, float]:
    """Takes Euclidean distances, as its evaluator gave them until it took to another algorithm (faiss on a GPU)."""
    distances = [part.clamp_(min=1e-12).sqrt_().numpy() for part in _squared_distances(task.data)]
    return task.judge(torch.from_numpy(task.code.re_ranking(*distances, **SETTINGS)))


def torchreid(task: Task) -> dict[str, float]:
    """Takes squared Euclidean distances, as its engine gives them."""
    distances = [part.numpy() for part in _squared_distances(task.data)]
    return task.judge(torch.from_numpy(task.code.re_ranking(*distances, **SETTINGS)))


def transreid(task: Task) -> dict[str, float]:
    """Takes embeddings."""
    return task.judge(torch.from_numpy(task.code.re_ranking(task.data.query, task.data.gallery, **SETTINGS)))


RIVALS = {
    "fastreid": ("fast-reid", fastreid, "fastreid/evaluation/rerank.py"),
    "torchreid": ("torchreid (d^4)", torchreid, "torchreid/utils/rerank.py"),
    "transreid": ("TransReID (float16)", transreid, "utils/reranking.py"),
}


def _squared_distances(data: Embeddings) -> list[Tensor]:
    """Of queries and gallery, of queries, and of the gallery."""
    parts = []
    for left, right in ((data.query, data.gallery), (data.query, data.query), (data.gallery, data.gallery)):
        squares = left.square().sum(dim=1, keepdim=True) + right.square().sum(dim=1)
        parts.append(squares.addmm_(left, right.T, alpha=-2))
    return parts


def prepare(file: Path | None, *, queries: int, gallery: int) -> Task:
    """The drawn embeddings, and the rival's one file."""
    data = veri(queries=queries, gallery=gallery, noise=NOISE)
    if file is None:
        return Task(data)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    return Task(data, code)


def rows_of(scores: Mapping[str, Score]) -> list[dict[str, str]]:
    """The table: ratios above 1 are in our favour."""
    mine = scores[OURS]
    return [
        {
            "re-ranked by": name,
            "CPU s": f"{score.cpu_s:.1f}",
            "times our CPU": f"{score.cpu_s / mine.cpu_s:.1f}",
            "peak MiB": f"{score.peak_mib:,.0f}",
            "times our memory": f"{score.peak_mib / mine.peak_mib:.1f}",
            "mAP": f"{100 * score.figures['mAP']:.4f}",
        }
        for name, score in scores.items()
    ]


def main() -> None:
    """Run everybody whose clone is given, in turns, and print one table."""
    arguments = OmegaConf.from_cli()
    queries, gallery = arguments.get("queries", 1678), arguments.get("gallery", 11579)
    threads, turns = arguments.get("threads", 1), arguments.get("turns", 1)
    field = [("not re-ranked", first_ranking, None), (OURS, ours, None)]
    for rival, (name, run, file) in RIVALS.items():
        if rival in arguments:
            field.append((name, run, Path(arguments[rival]) / file))
    contestants = [
        Contestant(name, partial(prepare, file, queries=queries, gallery=gallery), run) for name, run, file in field
    ]
    scores = contest(contestants, threads=threads, turns=turns, warm_up=False)
    note = (
        f"{queries:,} queries, {gallery:,} gallery pictures, 2,048 numbers, k1=20, k2=6, lambda=0.3; distances, "
        f"re-ranking and evaluation, {threads} thread(s), median of {turns}; peak above the embeddings."
    )
    report("reranking", rows_of(scores), Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
