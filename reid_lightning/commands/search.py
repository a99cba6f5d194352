"""Find registered vehicles: `reid search query=<picture, folder, video or URL> [plate=<plate>] [gallery=...]`."""

from contextlib import closing
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from reid_lightning.atomic import check_writable
from reid_lightning.bundle.loading import load_by_keys
from reid_lightning.commands.entry_point import build, save_config
from reid_lightning.drawing.tables import print_written, say
from reid_lightning.ranking import KReciprocal
from reid_lightning.search import TravelTimes
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.vehicle_search import VehicleSearch
from reid_lightning.search.output.console import console, print_found, print_threshold, print_warning, watching
from reid_lightning.search.output.search_files import SearchFiles
from reid_lightning.search.settings import camera_of, seconds_since_1970, threshold_of, where_of
from reid_lightning.search.video.sources import check_source, open_source


def search(cfg: DictConfig) -> int:
    """Search, write matches as JSON, CSV and pictures; returns the number of vehicles found."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    gallery, name = Gallery(cfg.gallery), str(cfg.query)
    check_source(name, every=cfg.every)
    embedder = load_by_keys(cfg.bundle, device=cfg.device, backend=cfg.backend, providers=cfg.providers)
    options = SearchOptions(
        min_score=threshold_of(cfg.min_score, embedder),
        top_k=cfg.top_k,
        where=where_of(gallery, **{key: cfg[key] for key in ("plate", "cameras", "types", "since", "until")}),
        rerank=KReciprocal() if cfg.rerank else None,
        travel_times=None if cfg.travel_times is None else TravelTimes.read(cfg.travel_times),
        camera=None if cfg.camera is None else camera_of(str(cfg.camera)),
        start=seconds_since_1970(cfg.start, key="start"),
        one_vehicle=cfg.one_vehicle,
        pictures=cfg.pictures,
        box=None if cfg.box is None else tuple(cfg.box),
        min_quality=cfg.min_quality,
    )
    store = build(cfg, "stores")(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim, create=False)
    finder = VehicleSearch(
        store,
        embedder,
        detector=instantiate(cfg.detector),
        build_tracker=build(cfg, "tracker"),
        options=options,
    )
    threshold = options.threshold(embedder)
    save_config(cfg, run_dir)
    print_threshold(threshold, pictures=finder.registered)
    with (
        open_source(name, every=cfg.every, allow_redirects=cfg.allow_redirects) as source,
        SearchFiles(run_dir, source, gallery, draw=cfg.draw, threshold=threshold) as files,
    ):
        with watching(source) as on_step, closing(finder.run(source, on_step=on_step)) as searched:
            ended = files.add_all(searched)
        decisions = files.marked(finder.decisions())
        query = {"query": source.name, "min_score": options.min_score, "bundle": store.fingerprint}
        files.finish(decisions, query=query)
    print_found(
        source,
        files.matches,
        decisions,
        threshold=threshold,
        tracks=finder.tracks,
        one_vehicle=options.one_vehicle,
    )
    print_warning(source)
    if note := finder.taken_whole(source):
        say(note, stderr=True, style="yellow")
    print_written(console(), files.written())
    if ended is not None:
        raise ended
    return len({match.vehicle for match in files.matches})
