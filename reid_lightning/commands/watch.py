"""Watch cameras for as long as they are there: `reid watch cameras=cameras.yaml [gallery=<folder>]`."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from reid_lightning.atomic import check_writable, locked
from reid_lightning.bundle.loading import find_bundle, load_by_keys
from reid_lightning.commands.entry_point import build, save_config
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.live.cameras import Receiver, Site, read_site
from reid_lightning.search.live.delivery import Delivery, Sender
from reid_lightning.search.live.locked_reader import LockedReader
from reid_lightning.search.live.metrics import Standing, serving_metrics
from reid_lightning.search.live.pool import Pool, works_of
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.status_table import shown_status
from reid_lightning.search.live.watching import known_lists
from reid_lightning.search.live.webhook import Webhook
from reid_lightning.search.live.worker import Parts, Work
from reid_lightning.search.output.console import console
from reid_lightning.search.settings import settings_of, threshold_of
from reid_lightning.search.video.sources import check_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

_LOOK = 0.5  # seconds between two looks at the processes, and two tables
_ENDING = 120.0  # seconds that processes have to save what they see


def watch(cfg: DictConfig) -> int:
    """Watch until somebody stops it, or all sources were recordings and have ended; returns the vehicles saved."""
    run_dir = Path(cfg.run_dir)
    check_writable(run_dir)
    site = read_site(Path(cfg.cameras), check=partial(check_source, every=cfg.every))
    gallery = Gallery(cfg.gallery)
    lists = known_lists(site.lists, gallery, embeds=cfg.bundle is not None, file=Path(cfg.cameras))
    senders = [_sender(one) for one in site.receivers]
    spool = Spool(Path(cfg.spool), [one.name for one in senders], most=cfg.most_hits)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    if cfg.bundle is not None:
        plain["bundle"] = str(find_bundle(cfg.bundle).absolute())  # the same one in all processes, and later on
    save_config(cfg, run_dir)
    work = Work(
        *(0, 1, site.cameras, partial(parts_of, {str(key): value for key, value in plain.items()})),
        lists=lists,
        min_score=cfg.min_score,
        spool=spool.root.absolute(),
        receivers=spool.receivers,
        most_hits=cfg.most_hits,
        every=cfg.every,
        allow_redirects=cfg.allow_redirects,
        threads=cfg.threads,
    )
    pool = Pool(works_of(work, site.cameras, cfg.processes))
    with ExitStack() as stack:
        stack.enter_context(_alone(spool.root))
        spool.clean()
        deliveries = [Delivery(spool, sender) for sender in senders]

        def standing() -> Standing:
            return Standing(pool.statuses, [one.status for one in deliveries], pool.restarts)

        if cfg.metrics_port is not None:
            stack.enter_context(serving_metrics(standing, host=cfg.metrics_host, port=cfg.metrics_port))
        for delivery in deliveries:
            delivery.begin()
            stack.callback(delivery.end)
        stack.callback(pool.kill)
        _watch(pool, site, deliveries, standing)
    return sum(one.vehicles - one.known for one in pool.statuses)


def _watch(pool: Pool, site: Site, deliveries: Sequence[Delivery], standing: Callable[[], Standing]) -> None:
    """Until the processes have ended: by themselves, after a signal, or by force after a second one."""
    shown = {camera.name: camera.shown for camera in site.cameras}
    with _signals() as asked, shown_status(console(), shown) as table:
        pool.begin()
        while not pool.has_ended:
            pool.look(_LOOK)
            table.show(standing())
            if asked.is_set():
                pool.stop()
                deadline = pool.clock.now() + _ENDING
                asked.clear()
                while not pool.has_ended and pool.clock.now() < deadline and not asked.is_set():
                    pool.look(_LOOK)
                    table.show(standing())
                pool.kill()
        for delivery in deliveries:
            delivery.end()
        table.show(standing())


def parts_of(plain: dict[str, Any]) -> Parts:
    """What the cameras of a process share, by a resolved configuration. ReIDError: as `register` raises."""
    cfg = OmegaConf.create(copy.deepcopy(plain))
    gallery, index = Gallery(cfg.gallery), None
    threshold: Any = float
    if cfg.bundle is not None:
        embedder = load_by_keys(cfg.bundle, device=cfg.device, backend=cfg.backend, providers=cfg.providers)
        store = build(cfg, "stores")(fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim)
        index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
        threshold = partial(threshold_of, embedder=embedder)
    reader = LockedReader(instantiate(cfg.plate_reader))
    detector = instantiate(cfg.detector)
    build(cfg, "tracker")(frame_rate=25.0)  # what is wrong with it is said now, and not by each camera

    def finder() -> VehicleFinder:
        return VehicleFinder(
            detector if detector.works_on_pictures else instantiate(cfg.detector),  # that remembers no frame
            reader,
            build_tracker=build(cfg, "tracker"),
            pictures=cfg.pictures,
            **{key: cfg[key] for key in ("crops", "min_frames", "min_side", "min_quality", "min_plate_confidence")},
        )

    return Parts(gallery, index, finder, settings_of(cfg), threshold)


def _sender(receiver: Receiver) -> Sender:
    if receiver.kind == "webhook":
        return Webhook(receiver)

    from reid_lightning.search.live.mqtt import Broker  # here: who tells no broker needs no paho-mqtt

    return Broker(receiver)


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    lock = locked(spool / ".lock", seconds=0.1)
    try:
        lock.__enter__()
    except ReIDError as error:
        raise ReIDError(
            f"another reid watch uses the spool {spool}; wait for its end, or name another one: spool=<folder>."
        ) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _signals() -> Iterator[Event]:
    """An event that Ctrl+C and SIGTERM set."""
    asked = Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
