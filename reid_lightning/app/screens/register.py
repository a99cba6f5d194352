"""The Register page: a source in, its vehicles as cards, corrected by hand, and only then saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import streamlit as st

from reid_lightning.app.context import AppContext, app_context
from reid_lightning.app.demo.page import show_demo
from reid_lightning.app.jobs import Job
from reid_lightning.app.register.board import ask_merge, show_cards
from reid_lightning.app.register.cards import Cards
from reid_lightning.app.register.job import Findings, Saved, find_vehicles, save_vehicles
from reid_lightning.app.text import count, plain
from reid_lightning.app.uploads import ENDINGS
from reid_lightning.app.widgets import KEPT, job, progress_bar, show_error, show_progress, uploads
from reid_lightning.errors import ReIDError
from reid_lightning.search.settings import camera_of, seconds_since_1970

FINDING, SAVING = "register_finding", "register_saving"  # jobs
FIELDS = WHERE, NAMED, CAMERA, START = tuple(f"register_{name}" for name in ("where", "named", "camera", "start"))
STRIP = 8  # of the vehicles found so far


def page() -> None:
    """What the state of this tab's work calls for."""
    st.title("Register vehicles")
    context = app_context()
    try:
        if context.bundle() is None:
            show_demo(context)
            return
    except ReIDError as error:
        show_error(str(error))
        return
    finding, saving = job(FINDING), job(SAVING)
    if saving is not None:
        _show_saving(saving)
    elif finding is None:
        _ask(context)
    elif finding.running:
        _show_finding()
    else:
        _show_found(context, finding)


def _ask(context: AppContext) -> None:
    """Which source, and whose camera."""
    st.write(
        "Vehicles are found, followed and their plates read; you look at them, correct them, and save. "
        "Nothing is stored before that."
    )
    if problem := st.session_state.pop("register_problem", None):
        show_error(problem)
    upload = "Upload files"
    kinds = [upload, "A folder, video or camera that this computer reaches"]
    where = st.radio("Source", kinds, horizontal=True, key=WHERE, persist_state=KEPT)
    with st.form("register_form", border=False):
        files, named = [], ""
        if where == upload:
            files = st.file_uploader("One video, or pictures", type=ENDINGS, accept_multiple_files=True)
        else:
            hint = "clips/north.mp4, or rtsp://camera/stream"
            named = st.text_input("Folder, file or address", placeholder=hint, key=NAMED, persist_state=KEPT)
        left, right = st.columns(2)
        camera = left.text_input(
            "Camera", placeholder="north", help="Its name: matches are shown with it.", key=CAMERA, persist_state=KEPT
        )
        start = right.text_input(
            "Start (optional)",
            placeholder="2026-01-31T08:00:00",
            key=START,
            persist_state=KEPT,
            help="When the source began; left out, what the file says. Without an offset it is this computer's time.",
        )
        if not st.form_submit_button("Find vehicles", type="primary", icon=":material/search:"):
            return
    try:
        camera = camera_of(camera.strip())
        began = seconds_since_1970(start.strip() or None, key="start")
        finder, space = context.finder(), uploads(context)
        if where != upload and not named.strip():
            raise ReIDError("no source was named; expected a folder, a file or an address.")
        place: str | Path = space.keep(files) if where == upload else named.strip()
        _find(context, Findings(space, place, camera, began, finder))
    except ReIDError as error:
        show_error(str(error))
        return
    st.rerun()


def _find(context: AppContext, findings: Findings) -> None:
    st.session_state.register_findings = findings
    st.session_state[FINDING] = Job("Finding vehicles", find_vehicles(context, findings))


@st.fragment(run_every=0.5)
def _show_finding() -> None:
    finding = job(FINDING)
    if finding is None or not finding.running:
        st.rerun()
    progress_bar(finding, FINDING)
    findings: Findings = st.session_state.register_findings
    if findings.vehicles:
        st.caption(f"{count(len(findings.vehicles), 'vehicle')} so far")
        for column, vehicle in zip(st.columns(STRIP), findings.vehicles[-STRIP:], strict=False):
            column.image(findings.thumbnails[vehicle.track], width="stretch")


def _show_found(context: AppContext, finding: Job) -> None:
    """The cards, or why there are none."""
    findings: Findings = st.session_state.register_findings
    if finding.state == "cancelled":
        _leave(context, "Stopped; nothing was stored.")
    if finding.state == "failed":
        _leave(context, finding.error)
    if findings.known:
        name, camera = plain(findings.source.name), plain(findings.camera)
        st.info(f"{name} was registered for camera {camera} before: nothing to add.", icon=":material/inventory:")
        if st.button("Find its vehicles again", help="Saving then replaces what was registered of it."):
            _find(context, replace(findings, again=True, known=False))
            st.rerun()
        _start_over(context, "Choose another source")
        return
    if "register_cards" not in st.session_state:
        st.session_state.register_cards = Cards.of(findings.vehicles)
    cards: Cards = st.session_state.register_cards
    st.subheader(f"{count(len(cards.cards), 'vehicle')} in {plain(findings.source.name)}")
    st.caption(plain(findings.finder.counts.describe("found", in_video=findings.source.in_video)))
    if findings.source.warning:
        st.warning(plain(findings.source.warning))
    if findings.again:
        st.warning("Saving replaces what was registered of this source before.")
    show_cards(context, findings, cards)
    ask_merge(cards)
    save, leave = st.columns(2)
    kept = len(cards.kept)
    label, key = f"Save {count(kept, 'vehicle')}", "register_save"  # with a key, a click counts while the label changes
    if save.button(label, key=key, type="primary", disabled=kept == 0, icon=":material/save:"):
        try:
            st.session_state[SAVING] = Job("Saving", save_vehicles(context, findings, cards), lasting=True)
        except ReIDError as error:
            show_error(str(error))
            return
        st.rerun()
    with leave:
        _start_over(context, "Discard all")


def _show_saving(saving: Job) -> None:
    if saving.running:
        show_progress(SAVING)
        return
    if saving.state == "done":
        saved: Saved = saving.result
        new = sum(one.is_new for one in saved.registered)
        known = len(saved.registered) - new
        vehicles = len({one.sighting.vehicle for one in saved.registered})
        before = f", {known:,} were there before" if known else ""
        st.success(f"{count(vehicles, 'vehicle')}: {count(new, 'new sighting')}{before}.", icon=":material/check:")
        if saved.kept_names:
            names = ", ".join(saved.kept_names[:10])
            st.warning(f"Registered before under other names, which stay: {plain(names)}. Rename them in the gallery.")
        st.page_link("screens/gallery.py", label="See them in the gallery", icon=":material/photo_library:")
        st.page_link("screens/search.py", label="Search for one of them", icon=":material/search:")
        _start_over(app_context(), "Register another source")
        return
    if saving.state == "failed":
        show_error(saving.error)
    else:
        st.warning("Stopped while saving. What was saved stays; saving again finishes it, as the cards say then.")
    if st.button("Back to the cards"):
        del st.session_state[SAVING]
        st.rerun()


def _leave(context: AppContext, problem: str) -> None:
    """Back to the first question as it was answered, with a reason."""
    _forget(context, but=FIELDS)
    st.session_state.register_problem = problem
    st.rerun()


def _start_over(context: AppContext, label: str) -> None:
    if st.button(label, icon=":material/restart_alt:"):
        _forget(context)
        st.rerun()


def _forget(context: AppContext, *, but: Sequence[str] = ()) -> None:
    """Everything of this source, its upload as well; `but` these fields."""
    findings: Findings | None = st.session_state.get("register_findings")
    if findings is not None and isinstance(findings.place, Path):
        uploads(context).drop(findings.place)
    for key in [key for key in st.session_state if str(key).startswith("register_") and key not in but]:
        del st.session_state[key]


page()
