"""Evaluate a model, embeddings or a ranking: `reid evaluate checkpoint=<bundle folder or .ckpt> [data=...]`."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from reid_lightning.atomic import check_writable
from reid_lightning.bundle.bundle import open_model
from reid_lightning.bundle.embedder import Embedder, ReIDEmbedder
from reid_lightning.bundle.loading import best_device, load_by_keys, named_model
from reid_lightning.bundle.onnx_sessions import named_providers
from reid_lightning.commands.entry_point import read_dataset, save_config
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.evaluator import print_evaluation, title_of


def evaluate(cfg: DictConfig) -> float:
    """Embed or read, rank, write `metrics.json`, `ranking.json` and pictures; returns mAP."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    check_sources(cfg)
    evaluation = instantiate(cfg.evaluation)
    if cfg.store_threshold and not evaluation.protocol.absolute:
        raise ReIDError(
            "store_threshold=true: expanded or re-ranked scores mean nothing in another gallery; leave it out."
        )
    save_config(cfg, run_dir)
    if cfg.checkpoint is not None:
        embedder = _model(cfg)
        dataset = read_dataset(cfg)
        title = title_of(dataset)
        bundle = Path(cfg.checkpoint) if cfg.store_threshold else None
        evaluated = evaluation.evaluate_model(embedder, dataset, run_dir, bundle=bundle)
    elif cfg.ranking is not None:
        title = Path(cfg.ranking).name
        evaluated = evaluation.evaluate_ranking(cfg.ranking, run_dir)
    else:
        title = f"{Path(cfg.query_embeddings).name} against {Path(cfg.gallery_embeddings).name}"
        evaluated = evaluation.evaluate_files(cfg.query_embeddings, cfg.gallery_embeddings, run_dir)
    print_evaluation(evaluated, run_dir, title=title)
    if cfg.store_threshold and evaluated.calibration is None:
        raise ReIDError("store_threshold=true: no pairs of different vehicles, so there is no threshold to store.")
    return evaluated.result.mAP


def _model(cfg: DictConfig) -> Embedder:
    path = named_model(cfg.checkpoint)
    named = named_providers(cfg.providers)
    if cfg.backend == "torch" and named:
        raise ReIDError(f"providers is {', '.join(named)}, which takes backend=onnx or auto; backend is torch.")
    if cfg.backend == "torch" or (cfg.backend == "auto" and not path.is_dir()):
        return ReIDEmbedder(open_model(path), device=best_device(cfg.device))
    return load_by_keys(path, device=cfg.device, backend=cfg.backend, providers=cfg.providers)


def check_sources(cfg: DictConfig) -> None:
    """ReIDError unless exactly one of a checkpoint, a pair of embedding files and a ranking is named."""
    files = [cfg.query_embeddings, cfg.gallery_embeddings]
    if files.count(None) == 1:
        raise ReIDError("one of query_embeddings and gallery_embeddings is missing; name both files.")
    named = [name for name in ("checkpoint", "query_embeddings", "ranking") if cfg[name] is not None]
    if len(named) != 1:
        raise ReIDError(
            f"{'several sources were named: ' + ', '.join(named) if named else 'nothing to evaluate was named'}; "
            "expected one of checkpoint=<bundle folder or .ckpt>, query_embeddings=<file> with "
            "gallery_embeddings=<file>, ranking=<ranking.json>."
        )
    if cfg.store_threshold and (cfg.checkpoint is None or not Path(cfg.checkpoint).is_dir()):
        raise ReIDError("store_threshold=true needs checkpoint=<bundle folder> to put the threshold into.")
