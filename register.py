"""Register vehicles: `python register.py source=<picture, folder, video or URL> camera=<name> [gallery=<folder>]`."""

import json
from dataclasses import asdict
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from reid_lightning.cli import check_writable, entry_point, save_config, write_atomically
from reid_lightning.search import load_reid_model
from reid_lightning.search.contact_sheet import contact_sheet
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.opening import best_device, find_bundle, seconds_since_1970
from reid_lightning.search.registration import Registered, Registrar
from reid_lightning.search.showing import print_registered, registered_rows, watching
from reid_lightning.search.sources import open_source
from reid_lightning.search.vehicle_finder import VehicleFinder


@entry_point("register")
def register(cfg: DictConfig) -> int:
    """Find, save and embed the vehicles of every source; returns the number of new sightings."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    start = seconds_since_1970(cfg.start, key="start")
    names = list(cfg.source) if isinstance(cfg.source, ListConfig) else [cfg.source]
    for name in names:
        open_source(name, every=cfg.every).close()  # a mistake in the last one is told before the first one's work
    gallery = Gallery(cfg.gallery)
    index = None
    if cfg.bundle is not None:
        embedder = load_reid_model(
            find_bundle(cfg.bundle), device=best_device(cfg.device, backend=cfg.backend), backend=cfg.backend
        )
        store = instantiate(cfg.vectors)(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
    finder = VehicleFinder(
        instantiate(cfg.detector),
        instantiate(cfg.plate_reader),
        build_tracker=instantiate(cfg.tracker),
        min_plate_confidence=cfg.min_plate_confidence,
        crops=cfg.crops,
        min_frames=cfg.min_frames,
        min_side=cfg.min_side,
        min_quality=cfg.min_quality,
        pictures=cfg.pictures,
    )
    registrar = Registrar(gallery, finder, index=index)
    save_config(cfg, run_dir)
    registered: list[Registered] = []
    for name in names:
        with open_source(name, every=cfg.every) as source:
            known = registrar.is_done(source, camera=cfg.camera)
            found = []
            if not known:
                with watching(source) as on_step:
                    for one in registrar.register(source, camera=cfg.camera, start=start, on_step=on_step):
                        found.append(one)
            print_registered(source, found, camera=cfg.camera, known=known)
            registered += found
    text = json.dumps([asdict(one.sighting) | {"is_new": one.is_new} for one in registered], indent=2)
    write_atomically(run_dir / "registered.json", text + "\n")
    if registered:
        title = f"{len(registered)} vehicles of camera {cfg.camera}; the number is the plate's confidence"
        contact_sheet(run_dir / "registered.jpg", registered_rows(registered), gallery=gallery.root, title=title)
    return sum(one.is_new for one in registered)


if __name__ == "__main__":
    register()
