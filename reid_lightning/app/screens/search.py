"""The Search page: where is this vehicle in this video, and which registered vehicle is this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st

from reid_lightning.app.context import AppContext, app_context
from reid_lightning.app.demo.page import show_demo
from reid_lightning.app.jobs import Job
from reid_lightning.app.search.form import Asked, ask
from reid_lightning.app.search.job import SearchRequest, SearchRun, prepare, search
from reid_lightning.app.search.results import PAGE, show_cards, show_downloads, show_nothing, show_timeline, show_tracks
from reid_lightning.app.text import count, plain
from reid_lightning.app.widgets import job, progress_bar, show_error, uploads
from reid_lightning.errors import ReIDError
from reid_lightning.search import Embedder
from reid_lightning.search.matching.track_decisions import answers_of

JOB, RUN, PAGES = "search_job", "search_run", "search_pages"
WHILE_RUNNING = 4  # cards; a text under a name would be drawn: Streamlit shows a script's bare texts


def page() -> None:
    """What the model and the gallery allow, and the results of this tab's search."""
    st.title("Search")
    context = app_context()
    try:
        if context.bundle() is None:
            show_demo(context)
            return
        if not context.gallery.page(most=0, on_problem=lambda problem: None).total:
            _show_empty(context)
            return
        embedder = context.embedder()
        with context.store(embedder):  # its errors come before the form
            asked = ask(context, embedder)
        current = job(JOB)
        running = current is not None and current.running
        if st.button("Search", type="primary", icon=":material/search:", key="search_start", disabled=running):
            _start(context, embedder, asked)
            st.rerun()
    except ReIDError as error:
        show_error(str(error))
        return
    if current is None:
        return
    st.divider()
    if running:
        _show_running()
    else:
        _show_ended(current, st.session_state[RUN])


def _show_empty(context: AppContext) -> None:
    st.info(
        f"The gallery {plain(context.settings.gallery)} is empty: register vehicles first, then search for them.",
        icon=":material/info:",
    )
    st.page_link("screens/register.py", label="Register vehicles", icon=":material/add_a_photo:")


def _start(context: AppContext, embedder: Embedder, asked: Asked) -> None:
    """Keep the files and begin. ReIDError: something does not fit, and nothing is kept."""
    if asked.files and asked.named:
        raise ReIDError("files were uploaded and a source was named; choose one of them.")
    if not (asked.files or asked.named or asked.wanted):
        raise ReIDError("nothing to search in; upload a video or pictures, or name a file, folder or address.")
    space, kept = uploads(context), list[Path]()

    def clean_up() -> None:
        for path in kept:
            space.drop(path)

    try:
        for files in (asked.wanted, asked.files):
            if files:
                kept.append(space.keep(files))
        request = _request(asked, kept)
        _forget(context)
        kept.append(space.new_folder())
        run, context = prepare(context, request, kept[-1])
    except BaseException:
        clean_up()
        raise
    kept.pop()  # the results stay
    uploaded = tuple(kept)
    st.session_state[RUN] = run
    st.session_state[JOB] = Job(
        "Searching", lambda job: search(job, run, context, embedder, uploaded=uploaded, clean_up=clean_up)
    )


def _request(asked: Asked, kept: Sequence[Path]) -> SearchRequest:
    """`kept` are the uploaded files: of the wanted vehicle, then what is searched."""
    source: str | Path = kept[-1] if asked.files or not asked.named else asked.named
    if asked.wanted and (asked.files or asked.named):
        return SearchRequest(source, asked.options, wanted=kept[0], every=asked.every)
    if asked.wanted:  # which registered vehicle is it?
        return SearchRequest(source, replace(asked.options, pictures="crops", one_vehicle=True))
    return SearchRequest(source, asked.options, every=asked.every)


def _forget(context: AppContext) -> None:
    """The last search of this tab, with its files."""
    before: SearchRun | None = st.session_state.pop(RUN, None)
    for key in (JOB, PAGES):
        st.session_state.pop(key, None)
    if before is not None:
        uploads(context).drop(before.folder)


@st.fragment(run_every=1.0)
def _show_running() -> None:
    """Progress, and the best of what was found so far."""
    current = job(JOB)
    if current is None or not current.running:
        st.rerun()
    progress_bar(current, JOB)
    run: SearchRun = st.session_state[RUN]
    snapshot = run.found.snapshot()
    if not snapshot.pairs:
        st.caption(f"{count(snapshot.frames, 'frame')} compared, no match yet.")
        return
    st.caption(f"{count(snapshot.frames, 'frame')} compared; the best of {count(snapshot.pairs, 'match', 'matches')}:")
    if run.in_video:
        show_timeline(snapshot.timeline)
    show_cards(snapshot.cards[:WHILE_RUNNING], in_video=run.in_video)


def _show_ended(current: Job, run: SearchRun) -> None:
    """All that was found, and the files."""
    if current.state == "failed":
        show_error(current.error)
        return
    if current.state == "cancelled":
        st.warning("Stopped. This is what was found until then.", icon=":material/stop_circle:")
    if run.limit is not None:
        st.warning(plain(f"{run.limit} Search again to follow it on."), icon=":material/timer_off:")
    if run.warning is not None:
        st.warning(plain(run.warning), icon=":material/warning:")
    snapshot = run.found.snapshot()
    if not snapshot.pairs:
        show_nothing(run, snapshot)
    else:
        vehicles = len({one.vehicle for one in run.decisions if one.accepted})
        st.subheader(f"{count(vehicles, 'vehicle')} found" if vehicles else "No vehicle found; single pictures match")
        if run.in_video:
            show_timeline(snapshot.timeline)
        _show_pages(run)
    options = run.request.options
    if run.in_video or options.one_vehicle:
        show_tracks(run.decisions, min_score=options.min_score, one_vehicle=options.one_vehicle)
    show_downloads(run.files)


def _show_pages(run: SearchRun) -> None:
    """The cards, some at a time."""
    snapshot = run.found.snapshot()
    shown = PAGE * st.session_state.get(PAGES, 1)
    show_cards(snapshot.cards[:shown], in_video=run.in_video, answers=answers_of(run.decisions))
    kept = len(snapshot.cards)
    if shown < kept and st.button(f"Show more of {kept}", key="search_more", icon=":material/expand_more:"):
        st.session_state[PAGES] = st.session_state.get(PAGES, 1) + 1
        st.rerun()
    if shown >= kept < snapshot.pairs:
        st.caption(f"These are the best {kept} of {snapshot.pairs:,}; the files have all of them.")


page()
