"""Look after the registered vehicles and the vectors derived from them: `reid gallery list`, `rename`, `sync`, ..."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from torch.nn.functional import normalize

from reid_lightning.commands.gallery_index import index_of, index_problems, is_own, with_vectors
from reid_lightning.commands.gallery_tables import print_trash, print_vehicles
from reid_lightning.drawing.progress import counted
from reid_lightning.drawing.tables import say
from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.files import embedding_files, read_embeddings
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.gallery.archive_entries import TooMuch
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.forgetting import NotForgottenError, forget_vehicle
from reid_lightning.search.gallery.forgetting import forget as forget_before
from reid_lightning.search.gallery.index import IndexReport
from reid_lightning.search.gallery.trash import NothingKeptError, NotRemovedError, is_called
from reid_lightning.search.linking import links
from reid_lightning.search.linking.answers import Answers
from reid_lightning.search.settings import seconds_since_1970, words
from reid_lightning.search.stores.base import INDEX_FOLDER

_LONG = 1000  # folders, which are read for the first time
_Work = Callable[[DictConfig, Gallery], bool]


def _command(work: _Work) -> Callable[[DictConfig], None]:
    """The gallery is opened for `work`, which returns whether all is well; else the status is 1."""

    @functools.wraps(work)
    def task(cfg: DictConfig) -> None:
        link = Path(cfg.gallery) / INDEX_FOLDER
        if work.__name__ == "rebuild" and is_own(cfg) and link.is_symlink():
            link.unlink()  # no link in a gallery is followed, and this one is in the way
        gallery = Gallery(cfg.gallery)
        if not gallery.root.is_dir() and work.__name__ != "import_":
            raise ReIDError(f"There is no gallery at {cfg.gallery}; `reid register` makes one.")
        try:
            well = work(cfg, gallery)
        except OSError as error:
            raise ReIDError(str(error)) from error
        if not well:
            sys.exit(1)

    return task


def _left_out(problems: Sequence[str]) -> None:
    for problem in problems:
        say(f"left out: {problem}")


@_command
def list_(cfg: DictConfig, gallery: Gallery) -> bool:
    """The vehicles."""
    problems: list[str] = []
    with counted("reading sidecars", least=_LONG) as on_progress:
        vehicles = gallery.vehicles(on_problem=problems.append, on_progress=on_progress)
    print_vehicles(vehicles)
    _left_out(problems)
    return True


@_command
def check(cfg: DictConfig, gallery: Gallery) -> bool:
    """Name what is damaged."""
    with counted("checking") as on_progress:
        problems = gallery.check(on_progress=on_progress)
    problems += index_problems(cfg, gallery)
    answers = Answers(gallery.root)
    if damaged := answers.damaged:
        problems.append(f"{count(damaged, 'line')} of {answers.path} cannot be read: what people said there is lost.")
    for problem in problems:
        say(problem)
    say(count(len(problems), "problem"))
    return not problems


@_command
def rebuild(cfg: DictConfig, gallery: Gallery) -> bool:
    """Embed every crop again, also after a change of the model."""
    return _embed(cfg, gallery, again=True)


@_command
def sync(cfg: DictConfig, gallery: Gallery) -> bool:
    """Embed crops that have no vector, forget those that are gone."""
    return _embed(cfg, gallery, embedded=None if cfg.embeddings is None else Path(cfg.embeddings))


def _embed(cfg: DictConfig, gallery: Gallery, *, again: bool = False, embedded: Path | None = None) -> bool:
    index = index_of(cfg, gallery, any_model=again)
    if embedded is not None:
        taken = index.take(_embedded(embedded, index.store.fingerprint))
        say(f"{count(taken, 'vector')} taken from {embedded}")
    removed = gallery.repair()
    with counted("embedding") as on_progress:
        report: IndexReport = (index.rebuild if again else index.sync)(on_progress=on_progress)
    _left_out(list(report.problems))
    done = f"{report.embedded} embedded, {report.changed} changed, {report.removed} removed"
    say(f"{count(report.total, 'vector')}: {done}; {count(len(removed), 'leftover file')} removed")
    return True


def _embedded(folder: Path, fingerprint: str) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """What `reid embed gallery=` has made, file by file."""
    files = embedding_files(folder)
    if not files:
        raise ReIDError(f"embeddings={folder} holds no file of `reid embed gallery=...`; expected <output>/gallery.")
    with counted("files of embeddings stored") as on_progress:
        for done, file in enumerate(files):
            on_progress(done, len(files))
            table = read_embeddings(file)
            if table.model != fingerprint or table.names is None:
                raise ReIDError(
                    f"{file} is of the model {table.model or 'unknown'}, and the bundle is {fingerprint}; give the one "
                    "that embedded them."
                )
            yield table.names, normalize(table.embeddings.float(), dim=1).numpy()
        on_progress(len(files), len(files))


@_command
def rename(cfg: DictConfig, gallery: Gallery) -> bool:
    """Give a vehicle another name."""
    target, followed = with_vectors(cfg, gallery)
    target.rename(cfg.vehicle, cfg.to, undoable=True)
    target.require_followed()
    say(f"rename: {cfg.vehicle} is {gallery.existing_folder(cfg.to).name} now; {followed}")
    return True


@_command
def merge(cfg: DictConfig, gallery: Gallery) -> bool:
    """Move all that is known of a vehicle to another one."""
    target, followed = with_vectors(cfg, gallery)
    target.merge(cfg.vehicle, cfg.into, undoable=True)
    target.require_followed()
    say(f"merge: {cfg.vehicle} is with {gallery.existing_folder(cfg.into).name} now; {followed}")
    return True


@_command
def delete(cfg: DictConfig, gallery: Gallery) -> bool:
    """Remove a vehicle and its crops."""
    target, followed = with_vectors(cfg, gallery)
    try:
        if cfg.now:
            links.drop(gallery.root)
            forget_vehicle(gallery, cfg.vehicle, index=target)
        else:
            target.delete(cfg.vehicle, undoable=True)
    except (NotRemovedError, NotForgottenError):
        target.purge()
        raise
    target.purge()
    target.require_followed()
    done = "removed for good" if cfg.now else "in the trash for seven days (`restore`, `purge`)"
    say(f"delete: {cfg.vehicle} is {done}; {followed}")
    return True


@_command
def trash(cfg: DictConfig, gallery: Gallery) -> bool:
    """What was deleted, merged or renamed and can be restored."""
    print_trash(gallery.trash())
    _report_damaged(gallery)
    return True


def _report_damaged(gallery: Gallery) -> bool:
    """Name what in the trash may be anybody's; returns whether there is any."""
    found = gallery.damaged_trash()
    for path in found:
        say(f"{path} cannot be read, and may be of any vehicle; `purge` without a name removes it.")
    return bool(found)


@_command
def restore(cfg: DictConfig, gallery: Gallery) -> bool:
    """Undo: bring back what the trash holds."""
    target, followed = with_vectors(cfg, gallery)
    done = target.restore(cfg.vehicle, into=cfg.into)
    target.require_followed()
    left = f"; {done.left} stay: they are registered again, or have moved on" if done.left else ""
    say(f"restore: {done.vehicle} is back with {count(len(done.moved), 'sighting')}{left}; {followed}")
    if not done.origins:
        say(f"pictures without vectors, where there are any, are embedded by: {_syncing(gallery)}")
    return True


@_command
def purge(cfg: DictConfig, gallery: Gallery) -> bool:
    """Empty the trash, or remove entries by id or name, for good."""
    names = words(cfg.vehicle, key="vehicle") or ()
    found = [one for one in gallery.trash() if not names or any(is_called(one, name) for name in names)]
    damaged = bool(names) and _report_damaged(gallery)
    unknown = [name for name in names if not any(is_called(one, name) for one in found)]
    if unknown:
        raise NothingKeptError(gallery.root, unknown[0])
    links.drop(gallery.root)
    gallery.purge(found)
    unread = 0 if names else gallery.purge_damaged()
    which = f", {unread} of which could not be read" if unread else ""
    say(f"purge: {count(len(found) + unread, 'entry', 'entries')} removed for good{which}")
    return not damaged


@_command
def forget(cfg: DictConfig, gallery: Gallery) -> bool:
    """Remove what ended, or if nobody knows was registered, before a time."""
    before = seconds_since_1970(cfg.before, key="before")
    target, followed = with_vectors(cfg, gallery)
    links.drop(gallery.root)
    removed, problems, damaged = forget_before(gallery, before or 0.0, index=target)
    if removed:
        target.purge()
    _left_out(problems)
    followed = followed if target.lost is None else "the vectors did not follow"
    unread = f", {count(damaged, 'unreadable entry', 'unreadable entries')} of the trash removed" if damaged else ""
    say(f"forget: {count(removed, 'sighting')} removed{unread}, {len(problems)} left out; {followed}")
    if removed:
        target.require_followed()
    return not problems


@_command
def export(cfg: DictConfig, gallery: Gallery) -> bool:
    """Write vehicles with their crops into a zip."""
    with counted("exporting") as on_progress:
        vehicles = words(cfg.vehicle, key="vehicle")
        report = export_gallery(gallery, Path(cfg.file), vehicles=vehicles, on_progress=on_progress)
    _left_out(list(report.problems))
    numbers = {"vehicle": report.vehicles, "sighting": report.sightings, "crop": report.crops}
    counts = ", ".join(count(number, name) for name, number in numbers.items())
    say(f"{cfg.file}: {counts}; {len(report.problems)} left out")
    return True


@_command
def import_(cfg: DictConfig, gallery: Gallery) -> bool:
    """Add what a zip of `export` holds."""
    if cfg.bundle is not None:
        index_of(cfg, gallery, any_model=False)  # a model that does not fit is reported before the long work
    try:
        with counted("importing") as on_progress:
            report = import_gallery(gallery, Path(cfg.file), max_bytes=cfg.max_gib << 30, on_progress=on_progress)
    except TooMuch as error:
        raise ReIDError(f"{error} Where you trust it, max_gib={4 * cfg.max_gib} reads four times as much.") from error
    _left_out(list(report.problems))
    said = count(report.added, "sighting"), count(report.known, "was known", "were known")
    say(f"{said[0]} added, {said[1]}, {count(report.left_out, 'file')} left out")
    if cfg.bundle is not None:
        return _embed(cfg, gallery)
    if report.added:
        say(f"what was added cannot be searched until it is embedded: {_syncing(gallery)}")
    return True


def _syncing(gallery: Gallery) -> str:
    return f"reid gallery sync {shlex.quote(f'gallery={gallery.root}')} bundle=latest"
