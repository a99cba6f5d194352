"""Claim: `reid adapt` and a training on its pseudo-labels help on pictures without labels, and on ones never seen.

python benchmarks/adaptation.py pictures=<two-camera crops> [fleet=data/synthetic] [seeds=[0,1,2]]
    [runs=runs/adaptation] [overrides=[...]] (of the training) [output=benchmarks/results]
Half of the vehicles' crops (`<vehicle>_cam<1|2>.jpg`) are given without labels, the cameras known; both halves are then
searched as in real_vehicles.py. The fleet's test pictures are given without labels, tracks and cameras known, and
searched by the fleet's protocol. Runs that are there already are not repeated.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from omegaconf import OmegaConf
from real_vehicles import judged, pictures_of

from reid_lightning.data.images.reading import load_image
from reid_lightning.search import load_reid_model

ROWS: dict[str, list[str] | None] = {
    "the starter": None,
    "centred and whitened (margin=null)": ["margin=null"],
    "and with pairs of cameras linked (the default)": [],
}
TRAINED = "trained on the pseudo-labels"
CAMERAS = r"pattern=_cam(?P<camera>\d+)"
TRACKS = r"pattern=(?P<track>\d+_(?P<camera>c\d+))"
Figures = dict[str, dict[str, list[tuple[float, float]]]]


def main() -> None:
    """Adapt and train what is not there yet, and print one table."""
    given = OmegaConf.from_cli()
    if "pictures" not in given:
        raise SystemExit("pictures=<folder> is missing: the two-camera crops")
    runs = Path(given.get("runs", "runs/adaptation")).resolve()
    pictures, words = pictures_of(Path(given.pictures), None), list(given.get("overrides", []))
    seeds = list(given.get("seeds", [0, 1, 2]))
    figures: Figures = {row: {} for row in (*ROWS, TRAINED)}
    for seed in seeds:
        _real(pictures, runs / f"real-{seed}", seed, words, figures)
    _drawn(Path(given.get("fleet", "data/synthetic")).resolve(), runs / "fleet", figures)
    note = f"rank-1 / mAP; mean and standard deviation of {len(seeds)} halves of {len(pictures)} vehicles."
    rows = [
        {"model": row, **{column: _cell(pairs) for column, pairs in found.items()}} for row, found in figures.items()
    ]
    columns = list(rows[0])
    rows = [{column: row.get(column, "") for column in columns} for row in rows]
    report("adaptation", rows, Path(given.get("output", "benchmarks/results")), note=note)


def _real(pictures: dict[str, list[Path]], runs: Path, seed: int, words: Sequence[str], figures: Figures) -> None:
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed)).tolist()
    names = [list(pictures)[position] for position in order]
    halves = {"pictures given without labels": names[: len(names) // 2], "never seen": names[len(names) // 2 :]}
    crops = runs / "crops"
    for name in halves["pictures given without labels"]:
        crops.mkdir(parents=True, exist_ok=True)
        for path in pictures[name]:
            shutil.copy(path, crops / path.name)
    bundles = _adapted(runs, f"source={crops}", CAMERAS)
    bundles[TRAINED] = _run(
        runs / "trained", "train", "experiment=pseudo_labels", f"data.path={runs / '2/pseudo_labels.csv'}", *words
    )
    for row, bundle in bundles.items():
        model = load_reid_model(bundle)
        for column, half in halves.items():
            one, other = (model.embed([load_image(pictures[name][side]) for name in half]) for side in (0, 1))
            found = judged(one, other)
            pair = tuple(float(str(found[key]).split()[0]) for key in ("rank-1", "mAP"))
            figures[row].setdefault(column, []).append((pair[0], pair[1]))


def _drawn(root: Path, runs: Path, figures: Figures) -> None:
    source = next(iter(sorted(root.glob("small-seed0-*")))) / "image_test"
    for number, (row, bundle) in enumerate(_adapted(runs, f"source={source}", TRACKS).items()):
        folder = runs / f"evaluated-{number}"
        _run(folder, "evaluate", f"checkpoint={bundle}", f"data.root={root}")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        figures[row]["drawn fleet"] = [(100 * metrics["cmc"]["1"], 100 * metrics["mAP"])]


def _adapted(runs: Path, *words: str) -> dict[str, Path | str]:
    """A bundle for each of ROWS."""
    bundles: dict[str, Path | str] = {}
    for number, (row, keys) in enumerate(ROWS.items()):
        folder = runs / str(number)
        bundles[row] = "starter" if keys is None else _run(folder, "adapt", "bundle=starter", *words, *keys)
    return bundles


def _run(folder: Path, command: str, *words: str) -> Path:
    """The bundle of a run that is there already, or is made now."""
    done = folder / ("metrics.json" if command == "evaluate" else "bundle/opts.yaml")
    if not done.exists():
        reid = [sys.executable, "-m", "reid_lightning.commands", command]
        subprocess.run([*reid, *words, f"hydra.run.dir={folder}"], check=True)
    return folder / "bundle"


def _cell(pairs: Sequence[tuple[float, float]]) -> str:
    return " / ".join(
        f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")
        for values in zip(*pairs, strict=True)
    )


if __name__ == "__main__":
    main()
