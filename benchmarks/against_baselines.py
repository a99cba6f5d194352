"""Claim: a trained model ranks unseen vehicles far better than the untrained network and a colour histogram.

python benchmarks/against_baselines.py run=<run folder of train.py> [name=fleet] [output=benchmarks/results]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import evaluate_embedder, evaluate_histogram, report, result_row
from omegaconf import OmegaConf

from reid_lightning.bundle.bundle import BundleOptions, LoadedModel
from reid_lightning.commands.entry_point import read_dataset
from reid_lightning.models import ReIDModel
from reid_lightning.search import ReIDEmbedder, load_reid_model


def main() -> None:
    """Evaluate the run's bundle, its network with the random weights training began from, and the histogram."""
    arguments = OmegaConf.from_cli()
    run = Path(arguments.run)
    cfg = OmegaConf.load(run / "config.yaml")
    dataset = read_dataset(cfg)
    trained = load_reid_model(run / "bundle")
    torch.manual_seed(cfg.seed)
    model = ReIDModel(**trained.options.architecture).eval()
    untrained = ReIDEmbedder(
        LoadedModel(model, BundleOptions(model.architecture, trained.preprocessing, model.embedding_dim))
    )
    rows = [
        {"ranked by": "trained model (the bundle)", **result_row(evaluate_embedder(trained, dataset))},
        {"ranked by": "the same network, untrained", **result_row(evaluate_embedder(untrained, dataset))},
        {"ranked by": "colour histogram", **result_row(evaluate_histogram(dataset))},
    ]
    note = f"{dataset.name}, {len(dataset.query)} queries, {len(dataset.gallery)} gallery pictures; seed {cfg.seed}."
    report(arguments.get("name", "fleet"), rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
