"""What the pages work with: the settings of `conf/app.yaml`, the gallery, the model and the parts that search builds.

Settings are composed once for each command line; a model is loaded once for all browser tabs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from reid_lightning.bundle.bundle import OPTS_NAME
from reid_lightning.bundle.embedder import Backend
from reid_lightning.bundle.loading import find_bundle, load_by_keys
from reid_lightning.bundle.onnx_sessions import AUTO, named_providers
from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.command_line import as_typed, read_words
from reid_lightning.commands.config_mistakes import explained
from reid_lightning.commands.entry_point import build, check_composed
from reid_lightning.errors import ReIDError
from reid_lightning.search import Embedder
from reid_lightning.search.gallery import Gallery, GalleryIndex, VectorStore
from reid_lightning.search.gallery.optional_index import OptionalIndex
from reid_lightning.search.matching.search_options import SearchOptions
from reid_lightning.search.matching.vehicle_search import VehicleSearch
from reid_lightning.search.registration import Registrar
from reid_lightning.search.settings import settings_of
from reid_lightning.search.stores.base import NoVectorsError
from reid_lightning.search.video.vehicle_finder import VehicleFinder
from reid_lightning.user_messages import user_message

_COMPOSING = threading.Lock()  # Hydra composes for one thread at a time


@dataclass(frozen=True)
class AppContext:
    """The settings, and what is opened by them; every page makes its own, which costs nothing.

    Whatever holds the gallery's vectors is a context manager that closes them: a server counts its connections.
    """

    settings: DictConfig

    @property
    def gallery(self) -> Gallery:
        """The registered vehicles."""
        return Gallery(self.settings.gallery)

    def bundle(self) -> Path | None:
        """The model's folder, or None while there is none. ReIDError: the one that was named is no bundle."""
        try:
            return find_bundle(self.settings.bundle, or_starter=False)
        except ReIDError:
            if self.settings.bundle == "latest":
                return None
            raise

    def embedder(self) -> Embedder:
        """The model, loaded when it is first needed or has changed. ReIDError: there is none, or it is damaged."""
        folder = find_bundle(self.settings.bundle, or_starter=False)
        changed = (folder / OPTS_NAME).stat().st_mtime_ns
        keys = {key: self.settings[key] for key in ("device", "backend")}
        providers = named_providers(self.settings.providers) or AUTO
        return _embedder(str(folder.absolute()), changed, providers=providers, **keys)

    @contextmanager
    def store(self, embedder: Embedder, *, create: bool = False, any_model: bool = False) -> Iterator[VectorStore]:
        """The gallery's vectors. ReIDError: there are none and `create` is False, or they are of another model, which
        `any_model` allows."""
        model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
        with closing(build(self.settings, "stores")(**model, create=create, any_model=any_model)) as store:
            yield store

    @contextmanager
    def stored_vectors(self) -> Iterator[VectorStore | None]:
        """The gallery's vectors of whatever model; None where there are none. ReIDError: they cannot be reached."""
        try:
            store = build(self.settings, "stores")()
        except NoVectorsError:
            yield None
            return
        with closing(store):
            yield store

    @contextmanager
    def index(self, embedder: Embedder, *, any_model: bool = False) -> Iterator[GalleryIndex]:
        """Gallery and vectors as one, which embeds what is added."""
        with self.store(embedder, create=True, any_model=any_model) as store:
            yield GalleryIndex(self.gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())

    @contextmanager
    def changing(self) -> Iterator[OptionalIndex]:
        """What renames, merges and deletes: with the vectors, where there are some. ReIDError: they did not follow."""
        with closing(OptionalIndex(self.gallery, lambda: build(self.settings, "stores")())) as changed:
            yield changed
            changed.require_followed()

    def finder(self) -> VehicleFinder:
        """Detector, tracker and plate reader for registering; one for each job, since they remember frames. ReIDError:
        a setting of theirs does not fit."""
        keys = ("crops", "min_frames", "min_side", "min_quality", "min_plate_confidence", "pictures")
        return VehicleFinder(
            _made(self.settings.detector),
            _made(self.settings.plate_reader),
            build_tracker=build(self.settings, "tracker"),
            **{key: self.settings[key] for key in keys},
        )

    @contextmanager
    def registrar(self, finder: VehicleFinder, embedder: Embedder) -> Iterator[Registrar]:
        """What saves found vehicles."""
        with self.index(embedder) as index:
            yield Registrar(self.gallery, finder, index=index, settings=settings_of(self.settings))

    @contextmanager
    def search(self, embedder: Embedder, options: SearchOptions) -> Iterator[VehicleSearch]:
        """What finds registered vehicles in a source. ReIDError: nothing is registered that could be found."""
        detector, build_tracker = _made(self.settings.detector), build(self.settings, "tracker")
        with self.store(embedder) as store:
            yield VehicleSearch(store, embedder, detector=detector, build_tracker=build_tracker, options=options)


def app_context() -> AppContext:
    """For the command line that the server was started with: what stands after `--` are keys of `conf/app.yaml`.

    Raises:
        ReIDError: a key that does not exist, or a value that does not fit.
    """
    return AppContext(_settings(tuple(sys.argv[1:])))


def _made(settings: DictConfig) -> Any:
    try:
        return instantiate(settings)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        raise ReIDError(message) from error


@st.cache_resource(show_spinner=False)
def _settings(words: tuple[str, ...]) -> DictConfig:
    line = None
    with _COMPOSING:
        try:
            line = read_words(words, command="app", config_name="app", config_dir=str(CONFIG_DIR))
            cfg = line.composed(as_typed(line))
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg.hydra
            check_composed(cfg, "app", choices=choices)
            return cfg
        except Exception as error:
            message = (None if line is None else explained(error, line)) or user_message(error)
            if message is None:
                raise
            raise ReIDError(message) from error


@st.cache_resource(show_spinner="Loading the model ...", max_entries=2)
def _embedder(
    folder: str, changed: int, *, device: str, backend: Backend, providers: str | tuple[str, ...]
) -> Embedder:
    return load_by_keys(folder, device=device, backend=backend, providers=providers)
