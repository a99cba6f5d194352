"""Train a vehicle re-identification model: `python train.py [loss=circle] [data=veri776 data.root=...] ...`."""

import sys
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig

from reid_lightning.atomic import check_writable
from reid_lightning.bundle.bundle import store_metrics
from reid_lightning.commands.entry_point import build, entry_point, plain_config, read_dataset, save_config
from reid_lightning.commands.preflight import (
    agree_on_side_information,
    check_batches,
    check_config,
    check_data,
    check_trainer,
    check_validated,
    is_given,
    use_fast_convolutions,
)
from reid_lightning.evaluation.evaluator import print_evaluation
from reid_lightning.models import check_input_size, warn_of_mismatch
from reid_lightning.ranks import is_rank_zero
from reid_lightning.search import load_reid_model
from reid_lightning.sweeps.launching import needs_own_process, run_in_own_process
from reid_lightning.training.acceleration import compile_in_place, set_matmul_precision
from reid_lightning.training.checkpoints import bytes_of_run
from reid_lightning.training.lightning_internals import starts_its_ranks
from reid_lightning.training.loggers import finishing_wandb, log_bundle
from reid_lightning.training.resuming import AUTO, check_resumable, resume_path


@entry_point("train")
def train(cfg: DictConfig) -> float | None:
    """Compose, check, train, export the best model and evaluate what was exported; returns the mAP to compare jobs by:
    that of the best epoch's validation."""
    run_dir = Path(cfg.run_dir)
    check_config(cfg)
    resume = resume_path(cfg.resume, run_dir)
    if is_rank_zero():
        save_config(cfg, run_dir)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    preprocessing = instantiate(cfg.input)
    train_transform = build(cfg, "transforms")(preprocessing)
    model = use_fast_convolutions(instantiate(cfg.model))
    check_input_size(model, height=preprocessing.height, width=preprocessing.width)
    warn_of_mismatch(model, preprocessing)
    optimizer, scheduler, make_module = (build(cfg, group) for group in ("optimizer", "scheduler", "module"))
    trainer = build(cfg, "trainer")(
        callbacks=list(instantiate(cfg.callbacks).values()), logger=list(instantiate(cfg.logger).values())
    )
    if starts_its_ranks(trainer) and needs_own_process(trainer):  # a job of a sweep over several processes
        return run_in_own_process(sys.argv[0], run_dir)
    check_trainer(trainer, model, sync_batchnorm=cfg.trainer.sync_batchnorm)
    device, ranks = trainer.strategy.root_device, trainer.world_size
    set_matmul_precision(cfg.float32_matmul_precision, device=device)
    compile_in_place(model, cfg.compile, device=device)

    evaluation = instantiate(cfg.evaluation)
    make_datamodule, dataset = build(cfg, "loader"), read_dataset(cfg)
    evaluation.check(dataset)
    check_data(dataset)
    datamodule = make_datamodule(
        dataset,
        preprocessing,
        train_transform=train_transform,
        validation=cfg.data.validation,
        shrink_for=None if is_given("loader.identities_per_batch") else ranks,
    )
    agree_on_side_information(model, datamodule)
    loss = instantiate(cfg.loss, classes=datamodule.classes, embedding_dim=model.embedding_dim)
    check_batches(loss, datamodule, world_size=ranks)
    module = make_module(model, loss, preprocessing, optimizer=optimizer, scheduler=scheduler)
    if resume is not None:
        check_resumable(resume, module, trainer, may_be_complete=cfg.resume in (None, AUTO))
    check_writable(run_dir, needed_bytes=bytes_of_run(module, trainer))

    with finishing_wandb(trainer.loggers):
        for logger in trainer.loggers:
            logger.log_hyperparams(plain_config(cfg))
        trainer.fit(module, datamodule, ckpt_path=resume, weights_only=True)
        if not trainer.is_global_zero or trainer.fast_dev_run:  # a debugging run exports nothing
            return None
        check_validated(trainer)
        embedder = load_reid_model(run_dir / "bundle", device=device)
        evaluated = evaluation.evaluate_model(embedder, dataset, run_dir, bundle=run_dir / "bundle")
        store_metrics(run_dir / "bundle", evaluated.result.as_dict())
        epoch = embedder.options.data.get("epoch")
        log_bundle(trainer.loggers, run_dir / "bundle", metrics=evaluated.result.as_dict(), epoch=epoch)
    title = f"{dataset.name}: {len(dataset.query):,} queries, {len(dataset.gallery):,} gallery pictures"
    print_evaluation(evaluated, run_dir, title=title)
    return evaluated.selection_mAP


if __name__ == "__main__":
    train()
