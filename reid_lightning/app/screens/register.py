"""The Register page: a source in, its vehicles as cards, corrected by hand, and only then saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from reid_lightning.app.context import AppContext, app_context
from reid_lightning.app.demo import show_demo
from reid_lightning.app.jobs import Job
from reid_lightning.app.register_cards import Card, Cards
from reid_lightning.app.register_job import Findings, Saved, find_vehicles, save_vehicles
from reid_lightning.app.text import count, date, plain
from reid_lightning.app.uploads import VIDEO_SUFFIXES
from reid_lightning.app.widgets import job, progress_bar, show_error, show_progress, uploads
from reid_lightning.data.images import IMAGE_SUFFIXES
from reid_lightning.errors import ReIDError
from reid_lightning.search.opening import name_of, seconds_since_1970
from reid_lightning.search.plates import folder_name
from reid_lightning.search.results import time_code

COLUMNS, PAGE = 4, 24
FINDING, SAVING = "register_finding", "register_saving"  # jobs
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
    where = st.radio("Source", [upload, "A folder, video or camera that this computer reaches"], horizontal=True)
    with st.form("register_form", border=False):
        files, named = [], ""
        if where == upload:
            endings = [suffix.removeprefix(".") for suffix in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)]
            files = st.file_uploader("One video, or pictures", type=endings, accept_multiple_files=True)
        else:
            named = st.text_input("Folder, file or address", placeholder="clips/north.mp4, or rtsp://camera/stream")
        left, right = st.columns(2)
        camera = left.text_input("Camera", placeholder="north", help="Its name: matches are told by it.")
        start = right.text_input(
            "Start (optional)",
            placeholder="2026-01-31T08:00:00",
            help="When the source began; left out, what the file says. Without an offset it is this computer's time.",
        )
        if not st.form_submit_button("Find vehicles", type="primary", icon=":material/search:"):
            return
    try:
        camera = name_of(camera.strip() or None, key="camera")
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
            _find(context, replace(findings, again=True, source=None, known=False))
            st.rerun()
        _start_over(context, "Choose another source")
        return
    if "register_cards" not in st.session_state:
        st.session_state.register_cards = Cards.of(findings.vehicles)
    cards: Cards = st.session_state.register_cards
    st.subheader(f"{count(len(cards.cards), 'vehicle')} in {plain(findings.source.name)}")
    if findings.source.warning:
        st.warning(plain(findings.source.warning))
    if findings.again:
        st.warning("Saving replaces what was registered of this source before.")
    _show_cards(context, findings, cards)
    _merge(cards)
    save, leave = st.columns(2)
    kept = len(cards.kept)
    if save.button(f"Save {count(kept, 'vehicle')}", type="primary", disabled=kept == 0, icon=":material/save:"):
        try:
            st.session_state[SAVING] = Job("Saving", save_vehicles(context, findings, cards), lasting=True)
        except ReIDError as error:
            show_error(str(error))
            return
        st.rerun()
    with leave:
        _start_over(context, "Discard all")


def _show_cards(context: AppContext, findings: Findings, cards: Cards) -> None:
    shown = list(cards.cards.values())
    if len(shown) > PAGE:
        pages = -(-len(shown) // PAGE)
        number = st.number_input(f"Page (of {pages})", 1, pages, key="register_page")
        shown = shown[(number - 1) * PAGE : number * PAGE]
    registered = set(context.gallery.vehicle_names(on_problem=lambda problem: None))
    for start in range(0, len(shown), COLUMNS):
        for column, card in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with column, st.container(border=True):
                _show_card(card, cards, findings, registered)


def _show_card(card: Card, cards: Cards, findings: Findings, registered: set[str]) -> None:
    st.image(findings.thumbnails[card.best.track], width="stretch")
    source, key = findings.source, f"register_{card.number}_{len(card.parts)}"
    st.text_input(
        f"Plate or name, card {card.number}",
        card.name,
        key=f"{key}_name",
        on_change=_note,
        args=(card, "name", f"{key}_name"),
        placeholder="unknown",
        max_chars=100,
        disabled=not card.keep,
        help="Left empty, the vehicle gets a lasting unknown-... name.",
    )
    if card.confidence is not None:
        st.caption(f"read with confidence {card.confidence:.2f}")
    elif not card.name.strip():
        st.caption("no legible plate")
    _say_name(card, registered)
    first, last = min(one.first for one in card.vehicles), max(one.last for one in card.vehicles)
    began = source.start if findings.start is None else findings.start
    when = f"{time_code(first)} to {time_code(last)}" if source.kind in ("video", "stream") else ""
    said = [plain(findings.camera), card.vehicles[0].type, when, "" if began is None else date(began + first)]
    st.caption(" · ".join(part for part in said if part))
    st.checkbox(
        f"Keep card {card.number}",
        card.keep,
        key=f"{key}_keep",
        on_change=_note,
        args=(card, "keep", f"{key}_keep"),
    )
    if len(card.parts) > 1:
        label = f"Take card {card.number} apart"
        if st.button(label, key=f"{key}_apart", help=f"It was made of {len(card.parts)} cards."):
            cards.take_apart(card.number)
            st.rerun()


def _note(card: Card, name: str, key: str) -> None:
    """What the user changed goes into the card before the page is drawn, whatever it then shows."""
    setattr(card, name, st.session_state[key])


def _say_name(card: Card, registered: set[str]) -> None:
    """What the name becomes as a folder's name, and whether it is known already."""
    if not card.name.strip():
        return
    try:
        name = folder_name(card.name)
    except ReIDError as error:
        show_error(str(error))
        return
    known = ", which is registered already: it gets another sighting" if name in registered else ""
    if known or name != card.name:
        st.caption(f"saved as {plain(name)}{known}")


def _merge(cards: Cards) -> None:
    if len(cards.cards) < 2:
        return
    with st.form("register_merge", border=False, clear_on_submit=True):
        chosen = st.multiselect(
            "Cards that show the same vehicle", list(cards.cards), format_func=lambda n: f"card {n}"
        )
        if st.form_submit_button("Merge these cards", icon=":material/merge:"):
            try:
                cards.merge(chosen)
            except ReIDError as error:
                show_error(str(error))
                return
            st.rerun()


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
    """Back to the first question, with a reason."""
    _forget(context)
    st.session_state.register_problem = problem
    st.rerun()


def _start_over(context: AppContext, label: str) -> None:
    if st.button(label, icon=":material/restart_alt:"):
        _forget(context)
        st.rerun()


def _forget(context: AppContext) -> None:
    """Everything of this source, its upload as well."""
    findings: Findings | None = st.session_state.get("register_findings")
    if findings is not None and isinstance(findings.place, Path):
        uploads(context).drop(findings.place)
    for key in [key for key in st.session_state if str(key).startswith("register_")]:
        del st.session_state[key]


page()
