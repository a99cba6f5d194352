"""Register vehicles: `reid register source=<picture, folder, video or URL> camera=<name> [gallery=<folder>]`."""

from contextlib import closing
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from reid_lightning.atomic import check_writable
from reid_lightning.bundle.loading import load_by_keys
from reid_lightning.commands.entry_point import build, save_config
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.output.console import RegisteredFiles, watching
from reid_lightning.search.registration import Registrar
from reid_lightning.search.settings import camera_of, seconds_since_1970, settings_of, words
from reid_lightning.search.video.sources import check_source, open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder


def register(cfg: DictConfig) -> int:
    """Find, save and embed the vehicles of every source; returns the number of new sightings."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    camera, start = camera_of(str(cfg.camera)), seconds_since_1970(cfg.start, key="start")
    names = words(cfg.source, key="source") or ()
    if not names or (start is not None and len(names) > 1):
        raise ReIDError(f"{len(names)} sources and start={cfg.start}: name a source, and one only if start is given.")
    for name in names:
        check_source(name, every=cfg.every)  # a mistake in the last one is reported before the first one's work
    finder = VehicleFinder(
        instantiate(cfg.detector),
        instantiate(cfg.plate_reader),
        build_tracker=build(cfg, "tracker"),
        pictures=cfg.pictures,
        **{key: cfg[key] for key in ("crops", "min_frames", "min_side", "min_quality", "min_plate_confidence")},
    )
    gallery, index = Gallery(cfg.gallery), None
    if cfg.bundle is not None:
        embedder = load_by_keys(cfg.bundle, device=cfg.device, backend=cfg.backend, providers=cfg.providers)
        store = build(cfg, "stores")(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
    threads = torch.get_num_threads()  # a video's frames are decoded, looked at and read beside the embedding
    registrar = Registrar(gallery, finder, index=index, settings=settings_of(cfg))
    save_config(cfg, run_dir)
    files, empty, stopped = RegisteredFiles(run_dir, gallery.root), [], None
    try:
        for name in names:
            if cfg.again:
                with open_source(name, allow_redirects=cfg.allow_redirects) as source:
                    registrar.forget(source, camera=camera)
            with open_source(name, every=cfg.every, allow_redirects=cfg.allow_redirects) as source:
                torch.set_num_threads(1 if source.in_video else threads)
                known = registrar.is_done(source, camera=camera)
                files.begin(source, camera=camera, known=known)
                try:
                    with (
                        watching(source) as on_step,
                        closing(registrar.register(source, camera=camera, start=start, on_step=on_step)) as found,
                    ):
                        for one in () if known else found:
                            files.add(one)
                except ReIDError as error:
                    empty.append(str(error))  # the others may hold vehicles
                except KeyboardInterrupt as error:
                    stopped = error
                files.end(source, finder.counts)
            if stopped:
                break
    finally:  # whatever ends it: what was saved is reported
        torch.set_num_threads(threads)
        files.write()
    if index is not None and files.new and not stopped:
        index.tidy()
    if empty:
        raise ReIDError(" ".join(empty))
    if stopped:
        raise stopped
    return files.new
