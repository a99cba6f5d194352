"""A gallery's vectors as the commands reach them: opened for a model, followed by changes, checked."""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig

from reid_lightning.bundle.bundle import OPTS_NAME, read_options
from reid_lightning.bundle.loading import find_bundle, load_by_keys
from reid_lightning.commands.entry_point import build
from reid_lightning.redaction import without_password
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.index import GalleryIndex
from reid_lightning.search.gallery.index_check import check_index
from reid_lightning.search.gallery.index_file import PREFIX
from reid_lightning.search.gallery.optional_index import OptionalIndex
from reid_lightning.search.stores.base import INDEX_FOLDER, NoVectorsError, StoreError, VectorStore
from reid_lightning.search.stores.lance_state import note_of


def is_own(cfg: DictConfig) -> bool:
    """Whether the store is the one in the gallery's folder."""
    return str(cfg.stores.uri) == str(Path(cfg.gallery) / INDEX_FOLDER)


def index_of(cfg: DictConfig, gallery: Gallery, *, any_model: bool) -> GalleryIndex:
    """Of the gallery, to be embedded by `bundle`."""
    embedder = load_by_keys(cfg.bundle, device=cfg.device, backend=cfg.backend, providers=cfg.providers)
    model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
    store = build(cfg, "stores")(**model, any_model=any_model)
    return GalleryIndex(gallery, store, lambda pictures: embedder.embed(pictures).numpy())


def index_problems(cfg: DictConfig, gallery: Gallery) -> list[str]:
    """Of the vectors, where there are or were any."""
    where = gallery.root / INDEX_FOLDER
    if is_own(cfg) and not _holds_vectors(where) and not note_of(str(where), cfg.stores.name).exists():
        return []
    fingerprint = None if cfg.bundle is None else read_options(find_bundle(cfg.bundle) / OPTS_NAME).fingerprint
    try:
        return check_index(gallery, _store(cfg), fingerprint=fingerprint)
    except (StoreError, NoVectorsError) as error:
        return [str(error)]


def with_vectors(cfg: DictConfig, gallery: Gallery) -> tuple[OptionalIndex, str]:
    """What to change: the gallery, with its vectors where there are any; and what to say of those."""
    own = is_own(cfg)
    others = "; a store elsewhere follows with stores.uri, or at its next `sync`" if own else ""
    where = gallery.root / INDEX_FOLDER if own else without_password(str(cfg.stores.uri))
    target = OptionalIndex(
        gallery, (lambda: _store(cfg)) if not own or _holds_vectors(gallery.root / INDEX_FOLDER) else None
    )
    if not target.has_vectors:
        return target, f"no vectors followed: there are none at {where}{others}"
    tables = {path.stem for path in (gallery.root / INDEX_FOLDER).glob("*.lance")} - {cfg.stores.name}
    if tables and own:
        listed = ", ".join(sorted(tables))
        others = f"; not those of {listed}, which follow at their next `sync stores.name=<table>`{others}"
    return target, f"the vectors at {where} followed{others}"


def _holds_vectors(where: Path) -> bool:
    """Whether there is more in a gallery's own index folder than the index of sidecars."""
    try:
        return os.path.lexists(where) and any(not name.startswith(PREFIX) for name in os.listdir(where))
    except OSError:
        return os.path.lexists(where)


def _store(cfg: DictConfig) -> VectorStore:
    store: VectorStore = build(cfg, "stores")()
    return store
