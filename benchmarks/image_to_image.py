"""Claim: exact mAP, CMC and mINP cost little more than the matrix product of the embeddings, far less than the rivals'
compiled code, in bounded memory.

python benchmarks/image_to_image.py fastreid=<clone> torchreid=<clone> [size=veri|veri_wild] [queries=1678] [threads=1]
    [turns=3] [output=benchmarks/results]
Build the clones' compiled code first: python setup.py build_ext --inplace in fastreid/evaluation/rank_cylib and in
torchreid/metrics/rank_cylib (needs cython). Without the arguments, the matrix product and ours alone.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from common import report
from contest import Contestant, Embeddings, contest, veri, veri_wild
from omegaconf import OmegaConf

from reid_lightning.ranking import evaluate_retrieval

CHUNK = 1 << 25  # similarities at a time, as ours


def matrix_product(drawn: Embeddings) -> Mapping[str, float]:
    """The floor: every similarity computed, none looked at."""
    rows = max(1, CHUNK // len(drawn.gallery))
    out = torch.empty(min(rows, len(drawn.query)), len(drawn.gallery))
    for part in drawn.query.split(rows):
        torch.mm(part, drawn.gallery.T, out=out[: len(part)])
    return {}


def ours(drawn: Embeddings) -> Mapping[str, float]:
    """`evaluate_retrieval` as anyone would call it."""
    result = evaluate_retrieval(
        drawn.query,
        drawn.gallery,
        query_ids=drawn.query_ids,
        gallery_ids=drawn.gallery_ids,
        query_cameras=drawn.query_cameras,
        gallery_cameras=drawn.gallery_cameras,
    )
    return {"mAP": result.mAP, "rank-1": result.cmc[1], "mINP": result.mINP}


def fastreid(drawn: Embeddings, *, clone: str) -> Mapping[str, float]:
    """What its ReidEvaluator does: cosine distances, then its compiled ranking."""
    compiled = _compiled(Path(clone) / "fastreid/evaluation/rank_cylib")
    query, gallery = (torch.nn.functional.normalize(side, dim=1) for side in (drawn.query, drawn.gallery))
    distances = (1 - torch.mm(query, gallery.t())).numpy()
    names = (drawn.query_ids, drawn.gallery_ids, drawn.query_cameras, drawn.gallery_cameras)
    cmc, precision, penalty = compiled.evaluate_cy(distances, *(one.numpy() for one in names), 50, False)
    return {"mAP": float(np.mean(precision)), "rank-1": float(cmc[0]), "mINP": float(np.mean(penalty))}


def torchreid(drawn: Embeddings, *, clone: str) -> Mapping[str, float]:
    """What its engine does: cosine distances, then its compiled ranking; it knows no mINP."""
    compiled = _compiled(Path(clone) / "torchreid/metrics/rank_cylib")
    query, gallery = (torch.nn.functional.normalize(side, p=2, dim=1) for side in (drawn.query, drawn.gallery))
    distances = (1 - torch.mm(query, gallery.t())).numpy()
    names = (drawn.query_ids, drawn.gallery_ids, drawn.query_cameras, drawn.gallery_cameras)
    cmc, mean_precision = compiled.evaluate_cy(distances, *(one.numpy() for one in names), 50, False)
    return {"mAP": float(mean_precision), "rank-1": float(cmc[0])}


def main() -> None:
    """Print the contestants' CPU seconds, memory and figures, as ratios to the matrix product too."""
    arguments = OmegaConf.from_cli()
    size = arguments.get("size", "veri")
    draw = {"veri": veri, "veri_wild": veri_wild}[size]
    if "queries" in arguments or size == "veri_wild":
        draw = partial(draw, queries=arguments.get("queries", 10000))
    contestants = [Contestant("matrix product (torch)", draw, matrix_product), Contestant("reid_lightning", draw, ours)]
    for name, run in (("fastreid", fastreid), ("torchreid", torchreid)):
        if name in arguments:
            contestants.append(Contestant(f"{name}, compiled", draw, partial(run, clone=arguments[name])))
    threads = arguments.get("threads", 1)
    scores = contest(contestants, threads=threads, turns=arguments.get("turns", 3))
    floor, own = scores["matrix product (torch)"], scores["reid_lightning"]
    rows = [
        {
            "evaluated by": name,
            "CPU time / matrix product": f"{score.cpu_s / floor.cpu_s:.2f}",
            "reid_lightning / this": f"{own.cpu_s / score.cpu_s:.2f}",
            "MiB above the embeddings": f"{score.peak_mib:.0f}",
            **{figure: f"{score.figures[figure]:.7f}" if figure in score.figures else "" for figure in own.figures},
        }
        for name, score in scores.items()
    ]
    drawn = draw()
    note = f"{len(drawn.query):,} x {len(drawn.gallery):,} x {drawn.query.shape[1]}, {threads} thread(s)."
    report(f"image_to_image_{size}_{threads}", rows, Path(arguments.get("output", "benchmarks/results")), note=note)


def _compiled(folder: Path) -> ModuleType:
    path = next(folder.glob("rank_cy*.so"), None)
    if path is None:
        raise SystemExit(f"no compiled rank_cy in {folder}; run python setup.py build_ext --inplace there.")
    spec = importlib.util.spec_from_file_location("rank_cy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
