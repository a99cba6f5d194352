"""The Gallery page's long work: zips out and in, vectors made, every picture checked. Nothing here calls Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Job, counting
from reid_lightning.errors import ReIDError
from reid_lightning.search import Embedder
from reid_lightning.search.gallery import Gallery, IndexReport
from reid_lightning.search.gallery.archive import ExportReport, ImportReport, export_gallery, import_gallery

_UNPACKED = 8  # times as large as the largest upload: pictures pack no further, sidecars ten times


@dataclass(frozen=True)
class Exported:
    """A zip, and what is in it."""

    file: Path
    report: ExportReport


@dataclass(frozen=True)
class Imported:
    """What came out of a zip, and what was embedded of it; `missing` says why nothing was."""

    report: ImportReport
    index: IndexReport | None
    missing: str = ""


def exporting(gallery: Gallery, file: Path, vehicles: Collection[str] | None) -> Callable[[Job], Exported]:
    """Write a zip."""

    def work(job: Job) -> Exported:
        step = counting(job, "vehicle")
        return Exported(file, export_gallery(gallery, file, vehicles=vehicles, on_progress=step))

    return work


def importing(context: AppContext, file: Path, embedder: Embedder | None) -> Callable[[Job], Imported]:
    """Add a zip, then embed what is new, where there is a model and the vectors are of it."""

    def work(job: Job) -> Imported:
        try:
            most = _UNPACKED * (context.settings.max_upload_mib << 20)
            report = import_gallery(context.gallery, file, max_bytes=most, on_progress=counting(job, "vehicle"))
        finally:
            file.unlink(missing_ok=True)
        if embedder is None:
            return Imported(report, None, "there is no model yet.")
        job.step(done=0, note="looking for pictures without vectors")
        with ExitStack() as stack:
            try:
                index = stack.enter_context(context.index(embedder))
            except ReIDError as error:  # the vectors are of another model
                return Imported(report, None, str(error))
            return Imported(report, index.sync(on_progress=counting(job, "picture")))

    return work


def embedding(context: AppContext, embedder: Embedder, *, again: bool) -> Callable[[Job], IndexReport]:
    """Make vectors of all pictures (`again`, also after a change of the model), or of those that have none."""

    def work(job: Job) -> IndexReport:
        with context.index(embedder, any_model=again) as index:
            make = index.rebuild if again else index.sync
            return make(on_progress=counting(job, "picture"))

    return work


def checking(gallery: Gallery) -> Callable[[Job], list[str]]:
    """Open every picture."""

    def work(job: Job) -> list[str]:
        return gallery.check(on_progress=counting(job, "vehicle"))

    return work
