"""Claim: what IBN, PK sampling and each loss are worth, one change at a time, on the drawn fleet.

python benchmarks/ablation.py [runs=runs/ablation] [output=benchmarks/results] [overrides=[data.size=tiny,...]]
                              [variants=[0,4,5]]: only these rows of the table below
Runs that are there already (a folder with metrics.json) are not repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import report
from omegaconf import OmegaConf

PROJECT = Path(__file__).resolve().parents[1]
VARIANTS: dict[str, list[str]] = {
    "default (IBN-a, PK, ID + contrastive + circle)": [],
    "IBN-b": ["model=resnet18_ibn_b"],
    "no IBN": ["model.ibn=null"],
    "random batches instead of PK": ["loader=random"],
    "loss=id": ["loss=id"],
    "loss=contrastive": ["loss=contrastive"],
    "loss=circle": ["loss=circle"],
    "loss=triplet": ["loss=triplet"],
    "loss=id_triplet": ["loss=id_triplet"],
}


def main() -> None:
    """Train every variant with the same data, seed and epochs, and print one table."""
    arguments = OmegaConf.from_cli()
    runs = Path(arguments.get("runs", "runs/ablation"))
    rows, full = [], None
    chosen = arguments.get("variants", range(len(VARIANTS)))
    for number, (name, overrides) in [(row, list(VARIANTS.items())[row]) for row in chosen]:
        run = runs / f"{number}"
        if not (run / "metrics.json").exists():
            extra = [*overrides, *arguments.get("overrides", []), f"hydra.run.dir={run}"]
            subprocess.run([sys.executable, str(PROJECT / "train.py"), *extra], check=True)
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        full = metrics["mAP"] if full is None else full
        rows.append(
            {
                "variant": name,
                "mAP": f"{100 * metrics['mAP']:.1f}",
                "rank-1": f"{100 * metrics['cmc']['1']:.1f}",
                "against default": f"{100 * (metrics['mAP'] - full):+.1f}",
            }
        )
    settings = " ".join(arguments.get("overrides", [])) or "the default job"
    note = f"One run each, one seed; {settings}."
    report("ablation", rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
