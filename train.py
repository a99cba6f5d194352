"""Train a vehicle re-identification model: `python train.py [loss=circle] [data=veri776 data.root=...] ...`."""

from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from reid_lightning.cli import build, check_writable, entry_point, save_config
from reid_lightning.distributed import check_accelerator, check_not_sweeping, is_rank_zero
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation import print_judgement
from reid_lightning.loggers import finish_wandb
from reid_lightning.models import check_input_size
from reid_lightning.module import check_resumable, checkpoint_bytes, use_channels_last
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

    preprocessing = instantiate(cfg.input)
    train_transform = build(cfg, "transforms")(preprocessing)
    model = use_channels_last(instantiate(cfg.model))
    check_input_size(model, height=preprocessing.height, width=preprocessing.width)
    optimizer, scheduler, make_module = (build(cfg, group) for group in ("optimizer", "scheduler", "module"))
    trainer = build(cfg, "trainer")(
        callbacks=list(instantiate(cfg.callbacks).values()), logger=list(instantiate(cfg.logger).values())
    )
    check_not_sweeping(trainer.world_size)

    evaluation = instantiate(cfg.evaluation)
    make_datamodule = build(cfg, "loader")
    dataset = instantiate(cfg.data)
    evaluation.check(dataset)
    datamodule = make_datamodule(dataset, preprocessing, train_transform=train_transform)
    datamodule.batch_sampler(world_size=trainer.world_size)  # enough identities for all ranks
    loss = instantiate(cfg.loss, num_identities=datamodule.num_identities, embedding_dim=model.embedding_dim)
    module = make_module(model, loss, preprocessing, optimizer=optimizer, scheduler=scheduler)
    if cfg.resume is not None:
        check_resumable(Path(cfg.resume), module, max_epochs=trainer.max_epochs)
    check_writable(run_dir, needed_bytes=2 * checkpoint_bytes(module))

    for logger in trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))
    try:
        trainer.fit(module, datamodule, ckpt_path=cfg.resume, weights_only=True)
    finally:
        finish_wandb(trainer.loggers)
    if not trainer.is_global_zero or trainer.fast_dev_run:  # a debugging run exports nothing
        return None
    if not trainer.checkpoint_callback.best_model_path:
        raise ReIDError("no epoch was validated, so nothing was exported; lower trainer.check_val_every_n_epoch.")
    embedder = load_reid_model(run_dir / "bundle", device=trainer.strategy.root_device)
    judgement = evaluation.of_model(embedder, dataset, run_dir, bundle=run_dir / "bundle")
    title = f"{dataset.name}: {len(dataset.query):,} queries, {len(dataset.gallery):,} gallery pictures"
    print_judgement(judgement, run_dir, title=title)
    return judgement.result.mAP


if __name__ == "__main__":
    train()
