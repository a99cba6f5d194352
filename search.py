"""Find registered vehicles: `python search.py query=<picture, folder, video or URL> [plate=<plate>] [gallery=...]`."""

from contextlib import ExitStack
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from reid_lightning.cli import check_writable, entry_point, save_config
from reid_lightning.ranking import KReciprocal
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery_embeddings import known_vehicle
from reid_lightning.search.opening import best_device, find_bundle, seconds_since_1970, threshold_of
from reid_lightning.search.records import Filter
from reid_lightning.search.search_files import SearchFiles
from reid_lightning.search.showing import print_found, watching
from reid_lightning.search.sources import open_source
from reid_lightning.search.travel_times import TravelTimes
from reid_lightning.search.vehicle_search import SearchOptions, VehicleSearch


@entry_point("search")
def search(cfg: DictConfig) -> int:
    """Search, write matches as JSON, CSV and pictures; returns the number of vehicles found."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    gallery = Gallery(cfg.gallery)
    embedder = load_reid_model(
        find_bundle(cfg.bundle), device=best_device(cfg.device, backend=cfg.backend), backend=cfg.backend
    )
    min_score = threshold_of(cfg.min_score, embedder)
    options = SearchOptions(
        min_score=min_score,
        top_k=cfg.top_k,
        where=where(cfg, gallery),
        rerank=KReciprocal() if cfg.rerank else None,
        travel_times=None if cfg.travel_times is None else TravelTimes.read(cfg.travel_times),
        camera=cfg.camera,
        start=seconds_since_1970(cfg.start, key="start"),
        one_vehicle=cfg.one_vehicle,
        pictures=cfg.pictures,
        min_quality=cfg.min_quality,
    )
    store = instantiate(cfg.vectors)(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
    build_tracker = instantiate(cfg.tracker)
    finder = VehicleSearch(
        store, embedder, detector=instantiate(cfg.detector), build_tracker=build_tracker, options=options
    )
    save_config(cfg, run_dir)
    with open_source(cfg.query, every=cfg.every) as source, ExitStack() as stack:
        files = stack.enter_context(SearchFiles(run_dir, source, gallery, draw=cfg.draw))
        on_step = stack.enter_context(watching(source))
        for searched in finder.run(source, on_step=on_step):
            files.add(searched)
        decisions = finder.decisions()
        files.finish(decisions, query={"query": str(cfg.query), "min_score": min_score, "bundle": store.fingerprint})
    print_found(files.matches, decisions, min_score=min_score)
    return len({match.vehicle for match in files.matches})


def where(cfg: DictConfig, gallery: Gallery) -> Filter:
    """What the command asks for; ReIDError for a plate that nobody has registered."""
    plates = None if cfg.plate is None else list(cfg.plate) if isinstance(cfg.plate, ListConfig) else [cfg.plate]
    return Filter(
        vehicles=None if plates is None else tuple(known_vehicle(gallery, str(plate)) for plate in plates),
        cameras=None if cfg.cameras is None else tuple(str(camera) for camera in cfg.cameras),
        types=None if cfg.types is None else tuple(cfg.types),
        since=seconds_since_1970(cfg.since, key="since"),
        until=seconds_since_1970(cfg.until, key="until"),
    )


if __name__ == "__main__":
    search()
