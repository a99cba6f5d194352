"""Evaluate a bundle or a checkpoint: `python evaluate.py checkpoint=<bundle folder or .ckpt> [data=...]`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from reid_lightning.bundle import open_model
from reid_lightning.cli import check_writable, entry_point, save_config
from reid_lightning.distributed import best_device
from reid_lightning.evaluation import evaluate_model, print_summary
from reid_lightning.search import ReIDEmbedder


@entry_point("evaluate")
def evaluate(cfg: DictConfig) -> float:
    """Load, embed query and gallery, rank, write `metrics.json` and a picture of ranked lists; returns mAP."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    embedder = ReIDEmbedder(open_model(cfg.checkpoint), device=best_device(cfg.device))
    dataset = instantiate(cfg.data)
    save_config(cfg, run_dir)
    result = evaluate_model(
        embedder,
        dataset,
        run_dir,
        ranks=cfg.ranks,
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        columns=cfg.columns,
    )
    print_summary(result, dataset, run_dir)
    return result.mAP


if __name__ == "__main__":
    evaluate()
