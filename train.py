"""Train a vehicle re-identification model: `python train.py [loss=circle] [data=veri776 data.root=...] ...`."""

from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from reid_lightning.bundle import check_architecture, read_checkpoint
from reid_lightning.cli import check_writable, entry_point, save_config
from reid_lightning.distributed import check_accelerator, is_rank_zero
from reid_lightning.evaluation import evaluate_model, print_summary
from reid_lightning.module import ReIDModule, checkpoint_bytes, use_channels_last
from reid_lightning.search import load_reid_model


@entry_point("train")
def train(cfg: DictConfig) -> float | None:
    """Compose, check, train, export the best model and evaluate what was exported; returns its mAP."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    check_accelerator(cfg.trainer.accelerator, cfg.trainer.devices)
    if is_rank_zero():
        save_config(cfg, run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    dataset = instantiate(cfg.data)
    preprocessing = instantiate(cfg.input)
    train_transform = instantiate(cfg.transforms)(preprocessing)
    datamodule = instantiate(cfg.loader)(dataset, preprocessing, train_transform=train_transform)
    model = use_channels_last(instantiate(cfg.model))
    loss = instantiate(cfg.loss, num_identities=datamodule.num_identities, embedding_dim=model.embedding_dim)
    module = ReIDModule(
        model, loss, preprocessing, optimizer=instantiate(cfg.optimizer), scheduler=instantiate(cfg.scheduler)
    )
    if cfg.resume is not None:
        check_architecture(read_checkpoint(Path(cfg.resume)), model)
    check_writable(run_dir, needed_bytes=2 * checkpoint_bytes(module))

    trainer = instantiate(cfg.trainer)(
        callbacks=list(instantiate(cfg.callbacks).values()), logger=list(instantiate(cfg.logger).values())
    )
    for logger in trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    trainer.fit(module, datamodule, ckpt_path=cfg.resume, weights_only=True)

    bundle = run_dir / "bundle"
    if not trainer.is_global_zero or not bundle.exists():  # a debugging run exports nothing
        return None
    embedder = load_reid_model(bundle, device=trainer.strategy.root_device)
    result = evaluate_model(
        embedder, dataset, run_dir, batch_size=cfg.loader.eval_batch_size, num_workers=cfg.loader.num_workers
    )
    print_summary(result, dataset, run_dir)
    return result.mAP


if __name__ == "__main__":
    train()
