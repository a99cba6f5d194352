"""The Gallery page's long work: zips out and in, vectors made, every picture checked. Nothing here calls Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Job
from reid_lightning.app.text import count
from reid_lightning.cli import build
from reid_lightning.search import Embedder
from reid_lightning.search.gallery import Gallery, GalleryIndex, IndexReport
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
        step = _step(job, "vehicle")
        return Exported(file, export_gallery(gallery, file, vehicles=vehicles, on_progress=step))

    return work


def importing(
    context: AppContext, file: Path, index: GalleryIndex | None, *, missing: str = ""
) -> Callable[[Job], Imported]:
    """Add a zip, then embed what is new; without an index, `missing` says why there is none."""

    def work(job: Job) -> Imported:
        try:
            most = _UNPACKED * (context.settings.max_upload_mib << 20)
            report = import_gallery(context.gallery, file, max_bytes=most, on_progress=_step(job, "vehicle"))
        finally:
            file.unlink(missing_ok=True)
        if index is None:
            return Imported(report, None, missing)
        job.step(done=0, note="looking for pictures without vectors")
        return Imported(report, index.sync(on_progress=_step(job, "picture")))

    return work


def embedding(context: AppContext, embedder: Embedder, *, anew: bool) -> Callable[[Job], IndexReport]:
    """Make vectors of all pictures (`anew`, also after a change of the model), or of those that have none."""

    def work(job: Job) -> IndexReport:
        if not anew:
            return context.index(embedder).sync(on_progress=_step(job, "picture"))
        model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
        store = build(context.settings, "vectors")(**model, any_model=True, create=True)
        index = GalleryIndex(context.gallery, store, lambda pictures: embedder.embed(pictures).numpy())
        return index.rebuild(on_progress=_step(job, "picture"))

    return work


def checking(gallery: Gallery) -> Callable[[Job], list[str]]:
    """Open every picture."""

    def work(job: Job) -> list[str]:
        return gallery.check(on_progress=_step(job, "vehicle"))

    return work


def _step(job: Job, what: str) -> Callable[[int, int], None]:
    return lambda done, total: job.step(done=done, total=total, note=f"{done:,} of {count(total, what)}")
