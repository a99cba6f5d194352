"""`python -m reid_lightning.commands.gallery`: look after the registered vehicles and the vectors derived from them."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from reid_lightning.bundle.bundle import OPTS_NAME, read_options
from reid_lightning.bundle.loading import best_device, load_reid_model
from reid_lightning.commands import config_types
from reid_lightning.commands.console import ArgumentParser, argument_of, safe_console
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.tables import Name, count, new_table
from reid_lightning.errors import ReIDError, one_screen, printable
from reid_lightning.redaction import without_password
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.forgetting import NotForgottenError, forget, forget_vehicle
from reid_lightning.search.gallery.index import GalleryIndex, IndexReport
from reid_lightning.search.gallery.index_check import check_index
from reid_lightning.search.gallery.optional_index import OptionalIndex
from reid_lightning.search.gallery.summary import VehicleSummary
from reid_lightning.search.gallery.trash import NothingKeptError, NotRemovedError
from reid_lightning.search.plates.names import folder_name
from reid_lightning.search.records import UNCONFIRMED, UNKNOWN_TYPE
from reid_lightning.search.settings import seconds_since_1970
from reid_lightning.search.stores.base import INDEX_FOLDER, NoVectorsError, StoreError, VectorStore
from reid_lightning.search.stores.lance_state import note_of
from reid_lightning.search.stores.opening import open_store

_ID = 24  # cells of `unknown-` and its digits, which other commands want whole


def main(arguments: list[str] | None = None) -> int:
    """Do one thing; returns the exit status: 1, with one line to explain, when the user can fix it (or `check` found
    something); 130 on Ctrl-C."""
    with safe_console(sys.argv[1:] if arguments is None else arguments):
        return _run(_parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True, highlight=False)
    try:
        link = options.gallery / INDEX_FOLDER
        if options.command == "rebuild" and options.uri is None and link.is_symlink():
            link.unlink()  # no link in a gallery is followed, and this one is in the way
        gallery = Gallery(options.gallery)
        if not gallery.root.is_dir() and options.command != "import":
            raise ReIDError(f"There is no gallery at {options.gallery}; `register.py` makes one.")
        status: int = options.run(gallery, options, console)
        return status
    except (ReIDError, OSError) as error:
        _say(Console(stderr=True, soft_wrap=True, highlight=False), str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    common = ArgumentParser(add_help=False)
    folder, word = argument_of(config_types.Folder, Path), argument_of(config_types.Word)
    root = argument_of(config_types.GalleryFolder, Path)
    common.add_argument("--gallery", default="data/gallery", type=root, help="the folder of the registered vehicles")
    common.add_argument("--bundle", type=folder, help="the model: a bundle's folder (for rebuild, sync and import)")
    where = f"the vector store, by default the gallery's {INDEX_FOLDER}; changes are made in no other"
    common.add_argument("--uri", type=word, help=where)
    common.add_argument("--name", default="vehicles", type=word, help="its table or collection")
    common.add_argument("--token", default=os.environ.get("MILVUS_TOKEN"), help="of a Milvus server (or MILVUS_TOKEN)")
    common.add_argument("--device", default="cpu", type=argument_of(config_types.Device), help="where to embed")
    parser = ArgumentParser(prog="python -m reid_lightning.commands.gallery", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, run, names, text in (
        ("rebuild", _embed, (), "embed every crop again, also after a change of the model"),
        ("sync", _embed, (), "embed crops that have no vector, forget those that are gone"),
        ("check", _check, (), "name what is damaged"),
        ("list", _list, (), "the vehicles"),
        ("rename", _change, ("vehicle", "new"), "give a vehicle another name"),
        ("merge", _change, ("vehicle", "into"), "move all that is known of a vehicle to another one"),
        ("delete", _change, ("vehicle",), "remove a vehicle and its crops; they stay in the trash for seven days"),
        ("trash", _trash, (), "what was deleted, merged or renamed and can be restored"),
        ("restore", _restore, (), "undo: bring back what the trash holds, by its id or the vehicle's name"),
        ("purge", _purge, (), "empty the trash, or remove entries by id or name, for good"),
        ("forget", _forget, (), "remove what ended, or if nobody knows was registered, before a time"),
        ("export", _export, ("file",), "write vehicles with their crops into a zip"),
        ("import", _import, ("file",), "add what a zip of `export` holds"),
    ):
        command = commands.add_parser(name, parents=[common], help=text, description=text)
        command.set_defaults(run=run, command=name, names=names)
        for argument in names:
            command.add_argument(argument, type=word)
        if name == "export":
            which = "only this one; may be given again (default: all)"
            command.add_argument("--vehicle", action="append", type=word, help=which)
        if name == "delete":
            command.add_argument("--now", action="store_true", help="for good, with what the trash holds of it")
        if name == "restore":
            command.add_argument("which", nargs="?", type=word, help="an id that `trash` shows, or a vehicle's name")
            which = "under another name, or joined to the vehicle of this name"
            command.add_argument("--into", type=word, help=which)
        if name == "purge":
            command.add_argument("which", nargs="*", type=word, help="ids or vehicles' names (default: all)")
        if name == "forget":
            command.add_argument("--before", required=True, help="a time such as 2026-01-31T08:00:00 (ISO 8601)")
    return parser


def _embed(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    """`rebuild` and `sync`, which comes after an `import` too."""
    index = _index(gallery, options, any_model=options.command == "rebuild")
    removed = gallery.repair()
    with _progress() as progress:
        task = progress.add_task("embedding", total=None)
        work = index.rebuild if options.command == "rebuild" else index.sync
        report: IndexReport = work(on_progress=lambda done, total: progress.update(task, completed=done, total=total))
    for problem in report.problems:
        _say(console, f"left out: {problem}")
    _say(
        console,
        f"{report.total} vectors: {report.embedded} embedded, {report.changed} changed, {report.removed} removed; "
        f"{len(removed)} leftover files removed",
    )
    return 0


def _check(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    with _progress() as progress:
        task = progress.add_task("checking", total=None)
        problems = gallery.check(on_progress=lambda done, total: progress.update(task, completed=done, total=total))
    for problem in (problems := problems + _index_problems(gallery, options)):
        _say(console, problem)
    _say(console, count(len(problems), "problem"))
    return 1 if problems else 0


def _index_problems(gallery: Gallery, options: argparse.Namespace) -> list[str]:
    """Of the vectors, where there are or were any."""
    where = gallery.root / INDEX_FOLDER
    if options.uri is None and not os.path.lexists(where) and not note_of(str(where), options.name).exists():
        return []
    fingerprint = None if options.bundle is None else read_options(options.bundle / OPTS_NAME).fingerprint
    try:
        return check_index(gallery, _store(options), fingerprint=fingerprint)
    except (StoreError, NoVectorsError) as error:
        return [str(error)]


def _say(console: Console, text: str) -> None:
    console.print(printable(one_screen(without_password(text))), markup=False)


def _list(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    problems: list[str] = []
    names = ("vehicle", "cameras", "types")
    table = new_table("vehicle", "seen", "crops", "cameras", "types", "when (UTC)", names=names)
    for vehicle in gallery.vehicles(on_problem=problems.append):
        types = ", ".join(_types(vehicle))
        lists = (Name(plain_text(", ".join(vehicle.cameras))), Name(plain_text(types)))
        counts = (str(vehicle.sightings), str(vehicle.crops))
        table.add_row(Name(plain_text(vehicle.id), least=_ID), *counts, *lists, _span(vehicle.first, vehicle.last))
    _print_table(console, table)
    for problem in problems:
        _say(console, f"left out: {problem}")
    return 0


def _change(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    target, followed = _with_vectors(gallery, options)
    names = [getattr(options, name) for name in options.names]
    left: NotRemovedError | NotForgottenError | None = None
    try:
        if options.command == "delete" and options.now:
            forget_vehicle(gallery, *names, index=target)
        else:
            getattr(target, options.command)(*names, undoable=True)
    except (NotRemovedError, NotForgottenError) as error:
        left = error
    if options.command == "delete":
        target.purge()
    if left is not None:
        raise left
    target.require_followed()
    if options.command == "delete":
        done = "removed for good" if options.now else "in the trash for seven days (`restore`, `purge`)"
    else:
        done = f"{folder_name(names[1])} now" if options.command == "rename" else f"with {names[1]} now"
    _say(console, f"{options.command}: {names[0]} is {done}; {followed}")
    return 0


def _trash(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    table = new_table("id", "what", "vehicle", "into", "count", "until (UTC)", names=("vehicle", "into"))
    for entry in gallery.trash():
        number = str(len(entry.sightings) + len(entry.pictures))
        names = (Name(plain_text(entry.vehicle)), Name(plain_text(entry.into)))
        table.add_row(entry.id, plain_text(entry.action), *names, number, _date(entry.until)[:10])
    _print_table(console, table)
    _tell_damaged(gallery, console)
    return 0


def _tell_damaged(gallery: Gallery, console: Console) -> int:
    """Name what in the trash may be anybody's; returns how many entries that are."""
    found = gallery.damaged_trash()
    for path in found:
        _say(console, f"{path} cannot be read, and may be of any vehicle; `purge` without a name removes it.")
    return len(found)


def _restore(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    if options.which is None:
        raise ReIDError("`restore` needs an id or a vehicle's name; `trash` shows what can be brought back.")
    target, followed = _with_vectors(gallery, options)
    done = target.restore(options.which, into=options.into)
    target.require_followed()
    left = f"; {done.left} stay: they are registered again, or have moved on" if done.left else ""
    _say(console, f"restore: {done.vehicle} is back with {count(len(done.moved), 'sighting')}{left}; {followed}")
    if not done.origins:
        command = f"python -m reid_lightning.commands.gallery sync --gallery {gallery.root} --bundle <folder>"
        _say(console, f"pictures without vectors, where there are any, are embedded by: {command}")
    return 0


def _purge(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    names = options.which
    found = [one for one in gallery.trash() if not names or one.id in names or one.vehicle in names]
    damaged = _tell_damaged(gallery, console) if names else 0
    unknown = [name for name in names if not any(name in (one.id, one.vehicle) for one in found)]
    if unknown:
        raise NothingKeptError(gallery.root, unknown[0])
    gallery.purge(found)
    unread = 0 if names else gallery.purge_damaged()
    which = f", {unread} of which could not be read" if unread else ""
    _say(console, f"purge: {count(len(found) + unread, 'entry', 'entries')} removed for good{which}")
    return 1 if damaged else 0


def _types(vehicle: VehicleSummary) -> list[str]:
    known = [kind for kind in vehicle.types if kind != UNKNOWN_TYPE]
    return known + ([] if vehicle.confirmed else [UNCONFIRMED]) or list(vehicle.types)


def _print_table(console: Console, table: Table) -> None:
    if not console.is_terminal:  # a pipe or a file gets names whole, to be copied, read, cut
        console.width = max(
            console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum
        )
    console.print(table)


def _forget(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    before = seconds_since_1970(options.before, key="--before")
    target, followed = _with_vectors(gallery, options)
    removed, problems, damaged = forget(gallery, before or 0.0, index=target)
    if removed:
        target.purge()
    for problem in problems:
        _say(console, f"left out: {problem}")
    followed = followed if target.lost is None else "the vectors did not follow"
    unread = f", {count(damaged, 'unreadable entry', 'unreadable entries')} of the trash removed" if damaged else ""
    _say(console, f"forget: {count(removed, 'sighting')} removed{unread}, {len(problems)} left out; {followed}")
    if removed:
        target.require_followed()
    return 1 if problems else 0


def _with_vectors(gallery: Gallery, options: argparse.Namespace) -> tuple[OptionalIndex, str]:
    """What to change: the gallery, with its vectors where there are any; and what to say of those."""
    others = "" if options.uri else "; a store elsewhere follows with --uri, or at its next `sync`"
    where = without_password(options.uri) if options.uri else gallery.root / INDEX_FOLDER
    there = options.uri is not None or os.path.lexists(where)
    target = OptionalIndex(gallery, (lambda: _store(options)) if there else None)
    if not target.has_vectors:
        return target, f"no vectors followed: there are none at {where}{others}"
    tables = _tables(gallery.root / INDEX_FOLDER) - {options.name}
    if tables and options.uri is None:
        others = f"; not those of {', '.join(sorted(tables))}, which follow at their next `sync --name`{others}"
    return target, f"the vectors at {where} followed{others}"


def _tables(store: Path) -> set[str]:
    try:
        return {path.stem for path in store.glob("*.lance")}
    except OSError:  # it cannot be read, which opening it tells
        return set()


def _export(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    with _progress() as progress:
        task = progress.add_task("exporting", total=None)
        report = export_gallery(
            gallery,
            Path(options.file),
            vehicles=options.vehicle,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for problem in report.problems:
        _say(console, f"left out: {problem}")
    numbers = {"vehicle": report.vehicles, "sighting": report.sightings, "crop": report.crops}
    counts = ", ".join(count(number, name) for name, number in numbers.items())
    _say(console, f"{options.file}: {counts}; {len(report.problems)} left out")
    return 0


def _import(gallery: Gallery, options: argparse.Namespace, console: Console) -> int:
    if options.bundle is not None:
        _index(gallery, options, any_model=False)  # a model that does not fit is told before the long work
    with _progress() as progress:
        task = progress.add_task("importing", total=None)
        report = import_gallery(
            gallery,
            Path(options.file),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    for problem in report.problems:
        _say(console, f"left out: {problem}")
    _say(console, f"{report.added} sightings added, {report.known} were known, {report.left_out} files left out")
    if options.bundle is not None:
        return _embed(gallery, options, console)
    if report.added:
        command = f"python -m reid_lightning.commands.gallery sync --gallery {gallery.root} --bundle <folder>"
        _say(console, f"what was added cannot be searched until it is embedded: {command}")
    return 0


def _index(gallery: Gallery, options: argparse.Namespace, *, any_model: bool) -> GalleryIndex:
    if options.bundle is None:
        raise ReIDError(f"`{options.command}` embeds crops and needs the model: --bundle <folder>.")
    embedder = load_reid_model(options.bundle, device=best_device(options.device))
    model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
    store = _store(options, **model, any_model=any_model)
    return GalleryIndex(gallery, store, lambda pictures: embedder.embed(pictures).numpy())


def _store(options: argparse.Namespace, **model: Any) -> VectorStore:
    uri = str(options.gallery / INDEX_FOLDER) if options.uri is None else options.uri
    return open_store(uri, name=options.name, token=options.token, **model)


def _progress() -> AbstractContextManager[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _span(first: float | None, last: float | None) -> str:
    """From when to when, to the minute; on one day that is named once."""
    if first is None or last is None:
        return ""
    start, end = _date(first), _date(last)
    if start[:10] == end[:10] and " " in start:
        return start[:16] if start[:16] == end[:16] else f"{start[:16]}-{end[11:16]}"
    return f"{start[:10]} - {end[:10]}"


def _date(seconds: float | None) -> str:
    try:
        return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"


if __name__ == "__main__":
    sys.exit(main())
