"""Claim: what a bundle does with real vehicles it has not been shown: 60 at a time, a picture on each of two cameras.

python benchmarks/real_vehicles.py bundles=[starter,<bundle>,...] pictures=<folder> [names=[...]] [only=<list file>] \
    [output=benchmarks/results]

Pictures are `<vehicle>_cam<1|2>.jpg`; `only` is a file with a picture a line, to leave out those that a bundle was
trained on. Every vehicle is searched from either camera among 60 drawn at random, 200 times; figures are means over the
draws, with the spread of one draw, which is what 60 vehicles can say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from omegaconf import OmegaConf

from reid_lightning.data.images.reading import load_image
from reid_lightning.ranking import evaluate_open_set, evaluate_retrieval
from reid_lightning.ranking.open_set_result import calibrate_threshold
from reid_lightning.search import load_reid_model

VEHICLES, DRAWS, RATE = 60, 200, 1e-3
NAME = re.compile(r"(?P<vehicle>.+)_cam(?P<camera>\d+)")


def pictures_of(folder: Path, only: str | None) -> dict[str, list[Path]]:
    """The two pictures of each vehicle, by camera."""
    wanted = None if only is None else {Path(line).stem for line in Path(only).read_text().split()}
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.jpg")):
        match = NAME.fullmatch(path.stem)
        if match and (wanted is None or path.stem in wanted):
            found.setdefault(match["vehicle"], []).append(path)
    return {vehicle: paths for vehicle, paths in found.items() if len(paths) == 2}


def judged(one: torch.Tensor, other: torch.Tensor) -> dict[str, object]:
    """Embeddings (N, dim) of N vehicles on two cameras, in one order."""
    generator = torch.Generator().manual_seed(0)
    rank_1, mean_ap = [], []
    for _ in range(DRAWS):
        rows = torch.randperm(len(one), generator=generator)[:VEHICLES]
        names = list(range(len(rows)))
        for query, gallery in ((one[rows], other[rows]), (other[rows], one[rows])):
            result = evaluate_retrieval(query, gallery, query_ids=names, gallery_ids=names)
            rank_1.append(result.cmc[1])
            mean_ap.append(result.mAP)
    rank_1_of, ap_of = torch.tensor(rank_1).reshape(DRAWS, 2).mean(1), torch.tensor(mean_ap).reshape(DRAWS, 2).mean(1)
    ids = list(range(len(one)))
    pairs = evaluate_open_set(one, other, query_ids=ids, gallery_ids=ids, false_match_rates=(RATE,))
    threshold = calibrate_threshold(pairs, false_match_rate=RATE)
    return {
        "rank-1": f"{100 * rank_1_of.mean():.1f} ± {100 * rank_1_of.std():.1f}",
        "mAP": f"{100 * ap_of.mean():.1f} ± {100 * ap_of.std():.1f}",
        f"threshold at {RATE:g}": f"{threshold.threshold:.3f}",
        "pairs found": f"{100 * threshold.true_match_rate:.1f} %",
    }


def main() -> None:
    """A row for each bundle."""
    arguments = OmegaConf.from_cli()
    paths = pictures_of(Path(arguments.pictures), arguments.get("only"))
    loaded = [[load_image(pair[camera]) for pair in paths.values()] for camera in (0, 1)]
    names = list(arguments.get("names") or arguments.bundles)
    rows = []
    for name, bundle in zip(names, arguments.bundles, strict=True):
        model = load_reid_model(bundle)
        rows.append({"bundle": name, **judged(*(model.embed(pictures) for pictures in loaded))})
    note = f"{len(paths)} vehicles, {VEHICLES} at a time, {DRAWS} draws of seed 0, searched from either camera."
    report(arguments.get("name", "real_vehicles"), rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
