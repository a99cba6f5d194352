"""Train a vehicle re-identification model: `reid train [loss=circle] [data=veri776 data.root=...] ...`."""

import logging
from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig

from reid_lightning.bundle import exporters
from reid_lightning.bundle.bundle import open_model, store_metrics
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.commands.drawn_start import start_from_drawn
from reid_lightning.commands.entry_point import plain_config, read_dataset, save_config
from reid_lightning.commands.logs import write_kept
from reid_lightning.commands.parts import Parts, exported_bundle
from reid_lightning.commands.preflight import Preflight
from reid_lightning.commands.resumed import record_words
from reid_lightning.evaluation.evaluator import print_evaluation, title_of
from reid_lightning.evaluation.report import drawn_pictures
from reid_lightning.ranks import is_rank_zero
from reid_lightning.sweeps.launching import needs_own_process, run_in_own_process
from reid_lightning.training.lightning_internals import settings_of, starts_its_ranks
from reid_lightning.training.logged_pictures import log_picture
from reid_lightning.training.loggers import finishing_wandb, log_bundle, log_result
from reid_lightning.training.run_names import run_fields

_log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> float | None:
    """Check, build, train, export the best model and evaluate what was exported; returns the mAP to compare jobs by:
    that of the best epoch's validation."""
    run_dir, preflight = Path(cfg.run_dir), Preflight(cfg)
    resume = preflight.of_config()

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    parts = Parts.of(cfg)
    trainer = parts.trainer
    if starts_its_ranks(trainer) and needs_own_process(trainer):  # a job of a sweep over several processes
        return run_in_own_process(run_dir)
    preflight.of_parts(parts)
    parts.use_device()

    dataset = read_dataset(cfg)
    module, datamodule = parts.with_data(dataset)
    preflight.of_data(parts, dataset, module, datamodule, resume)
    start_from_drawn(cfg, parts.model, parts.preprocessing)
    if is_rank_zero():
        save_config(cfg, run_dir)
        record_words(cfg)
        write_kept()

    with finishing_wandb(trainer.loggers):
        for logger in trainer.loggers:
            logger.log_hyperparams({**run_fields(cfg.seed), "config": plain_config(cfg)})
        trainer.fit(module, datamodule, ckpt_path=resume, weights_only=True)
        if not trainer.is_global_zero or settings_of(trainer).fast_dev_run:  # a debugging run exports nothing
            return None

        bundle = exported_bundle(trainer, run_dir)
        embedder = ReIDEmbedder(open_model(bundle), device=parts.device)
        evaluated = parts.evaluation.evaluate_model(embedder, dataset, run_dir, bundle=bundle)
        metrics = evaluated.result.as_dict()
        store_metrics(bundle, metrics)
        epoch = embedder.options.data.get("epoch")
        for name, picture in drawn_pictures(run_dir).items():
            log_picture(trainer, f"final/{name}", picture)
        if cfg.onnx:
            _log.info("writing model.onnx into the bundle, for searches on a CPU")
            exporters.add_onnx(bundle)
        log_result(trainer.loggers, evaluated, epoch=epoch)
        log_bundle(trainer.loggers, bundle, metrics=metrics, epoch=epoch)

    print_evaluation(evaluated, run_dir, title=title_of(dataset))
    return evaluated.selection_mAP
