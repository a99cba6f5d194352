"""The Gallery page's other views: zips out and in, the model, vectors, and what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.gallery.jobs import Exported, Imported, checking, embedding, exporting, importing
from reid_lightning.app.gallery.list import current_choice
from reid_lightning.app.gallery.model import Advice, advice_text, model_state
from reid_lightning.app.jobs import Job
from reid_lightning.app.text import count, plain
from reid_lightning.app.widgets import job, show_download, show_error, show_progress, uploads
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, IndexReport
from reid_lightning.search.stores.base import DamagedStoreError, StoreError

EXPORT, IMPORT, VECTORS, CHECK = "gallery_export", "gallery_import", "gallery_vectors", "gallery_check"  # jobs
_SHOWN = 200  # problems


def export_and_import(context: AppContext, gallery: Gallery, *, vehicles: int) -> None:
    """Both as zips."""
    st.subheader("Export", anchor=False)
    if vehicles:
        _export(context, gallery, vehicles)
    else:
        st.write("There is nothing to export yet.")
    st.subheader("Import", anchor=False)
    _import(context)


def model_and_repair(context: AppContext, problems: Sequence[str], *, crops: int) -> None:
    """Which model the vectors are of; problems of the files."""
    st.subheader("Model", anchor=False)
    _model(context, crops=crops)
    st.subheader("Files", anchor=False)
    show_problems(problems)
    if not problems:
        st.write("Every sighting can be read.")
    running, found = _ended(CHECK)
    if not running:
        if st.button("Check every picture", key="gallery_check_start", icon=":material/fact_check:"):
            st.session_state[CHECK] = Job("Checking the gallery", checking(context.gallery))
            st.rerun()
        if found is not None:
            new = [problem for problem in found if problem not in problems]
            st.success("Nothing else is wrong.") if not new else show_problems(new, title="found by the check")


def show_problems(problems: Sequence[str], *, title: str = "with the gallery's files") -> None:
    """In an expander; nothing where there are none."""
    if not problems:
        return
    with st.expander(f"{count(len(problems), 'problem')} {title}", icon=":material/warning:"):
        for problem in problems[:_SHOWN]:
            st.markdown(f"- {plain(problem)}")
        if len(problems) > _SHOWN:
            st.caption(f"and {len(problems) - _SHOWN:,} more")


def _export(context: AppContext, gallery: Gallery, vehicles: int) -> None:
    choice = current_choice()
    fitting = [] if choice.is_everything else gallery.names(choice)
    running, made = _ended(EXPORT)
    if running:
        return
    everything = f"All {count(vehicles, 'vehicle')}"
    filtered = f"Those that fit the list's filters: {count(len(fitting), 'vehicle')}"
    st.write("The pictures and all that is known of them, as one zip to keep or to carry to another gallery.")
    which = st.radio("Which vehicles", [everything, filtered], key="gallery_which") if fitting else everything
    if st.button(
        f"Make a zip of {which[:1].lower()}{which[1:]}" if not fitting else "Make a zip",
        key="gallery_export_start",
        icon=":material/archive:",
    ):
        if made is not None:
            uploads(context).drop(made.file)  # the one of before
        file = uploads(context).new_folder() / "gallery.zip"
        names = None if which == everything else fitting
        st.session_state[EXPORT] = Job("Exporting", exporting(context.gallery, file, names))
        st.rerun()
    if made is not None:
        _exported(made)


def _exported(made: Exported) -> None:
    report = made.report
    try:
        size = made.file.stat().st_size
    except OSError:
        st.warning("The zip was removed from the server meanwhile: make it again.", icon=":material/warning:")
        return
    st.success(
        f"{count(report.vehicles, 'vehicle')}, {count(report.sightings, 'sighting')}, "
        f"{count(report.crops, 'picture')}; {size / 2**20:,.1f} MiB"
    )
    show_download(made.file, "Download gallery.zip", mime="application/zip", key="gallery_download")
    show_problems(report.problems, title="left out of the zip")


def _import(context: AppContext) -> None:
    running, made = _ended(IMPORT)
    if running:
        return
    most = context.settings.max_upload_mib
    st.write("Add the vehicles of a zip that was exported here or with the CLI. Known sightings stay as they are.")
    number = st.session_state.setdefault("gallery_upload_number", 0)
    file = st.file_uploader(f"A zip, at most {most:,} MiB", type=["zip"], key=f"gallery_upload_{number}")
    if st.button("Import", key="gallery_import_start", icon=":material/unarchive:", disabled=file is None) and file:
        try:
            if file.size > most << 20:
                raise ReIDError(f"The file has {file.size / 2**20:,.0f} MiB; at most {most:,} MiB are taken.")
            embedder = None if context.bundle() is None else context.embedder()
            path = uploads(context).keep_as("import.zip", file)
        except ReIDError as error:
            show_error(str(error))
            return
        st.session_state[IMPORT] = Job("Importing", importing(context, path, embedder))
        st.session_state.gallery_upload_number = number + 1  # an empty field
        st.rerun()
    if made is not None:
        _imported(made)


def _imported(made: Imported) -> None:
    report = made.report
    st.success(f"{count(report.added, 'sighting')} added, {report.known:,} known before, {report.left_out:,} left out")
    if made.index is not None:
        _indexed(made.index)
    else:
        st.warning(f"What was added cannot be searched yet: {plain(made.missing)} See Model and repair.")
    show_problems(report.problems, title="in the zip")


def _model(context: AppContext, *, crops: int) -> None:
    running, report = _ended(VECTORS)
    if running:
        return
    try:
        state = model_state(context, crops=crops)
    except StoreError as error:  # they can be made again all the same
        show_error(str(error))
        if crops:
            _embed_buttons(context, advice="rebuild" if isinstance(error, DamagedStoreError) else "sync")
        return
    except ReIDError as error:
        show_error(str(error))
        return
    if state.stored is None:
        st.write("The gallery has no vectors yet.")
    else:
        st.write(
            f"Made with the model `{plain(state.stored)}`: {count(state.vectors, 'vector')} of {state.dim:,} numbers."
        )
    (st.success if state.advice == "nothing" else st.warning)(plain(advice_text(state)))
    if state.present is not None and crops:
        _embed_buttons(context, advice=state.advice)
    if report is not None:
        _indexed(report)


def _embed_buttons(context: AppContext, *, advice: Advice) -> None:
    with st.container(horizontal=True):
        first = advice == "sync"
        sync = st.button("Embed what is missing", key="gallery_sync", type="primary" if first else "secondary")
        first = advice == "rebuild"
        again = st.button("Embed all again", key="gallery_rebuild", type="primary" if first else "secondary")
    if sync or again:
        _start_embedding(context, again=again)


def _start_embedding(context: AppContext, *, again: bool) -> None:
    try:
        embedder = context.embedder()
    except ReIDError as error:
        show_error(str(error))
        return
    st.session_state[VECTORS] = Job("Embedding", embedding(context, embedder, again=again))
    st.rerun()


def _indexed(report: IndexReport) -> None:
    done = f"{report.embedded:,} embedded, {report.changed:,} changed, {report.removed:,} removed"
    st.success(f"{count(report.total, 'vector')}: {done}")
    show_problems(report.problems, title="with pictures that were not embedded")


def _ended(key: str) -> tuple[bool, Any]:
    """Whether the job still runs, and what it has come to, if it has; its progress or failure is shown."""
    current = job(key)
    if current is None:
        return False, None
    if current.running:
        show_progress(key)
    elif current.state == "failed":
        show_error(current.error)
    elif current.state == "cancelled":
        st.info(f"{current.title} was cancelled; what was done until then stays.")
    return current.running, current.result
