"""How the Register page draws the vehicles that were found: cards to correct, to leave out, and to merge."""

from __future__ import annotations

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.register.cards import Card, Cards
from reid_lightning.app.register.job import Findings
from reid_lightning.app.text import date, plain
from reid_lightning.app.widgets import paged, show_error
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import UNCONFIRMED, time_code

COLUMNS, PAGE = 4, 24


def show_cards(context: AppContext, findings: Findings, cards: Cards) -> None:
    """Some at a time, beside each other; what is changed on one goes into it at once."""
    shown = paged(list(cards.cards.values()), key="register_page", per_page=PAGE)
    for start in range(0, len(shown), COLUMNS):
        for column, card in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with column, st.container(border=True):
                _show_card(card, cards, findings, context.gallery)


def _show_card(card: Card, cards: Cards, findings: Findings, gallery: Gallery) -> None:
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
    _say_name(card, gallery)
    first, last = min(one.first for one in card.vehicles), max(one.last for one in card.vehicles)
    began = source.start if findings.start is None else findings.start
    when = f"{time_code(first)} to {time_code(last)}" if source.in_video else ""
    mark = "" if card.confirmed else UNCONFIRMED
    said = [plain(findings.camera), card.vehicles[0].type, when, "" if began is None else date(began + first), mark]
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


def _say_name(card: Card, gallery: Gallery) -> None:
    """What the name becomes as a folder's name, and whether it is known already."""
    if not card.name.strip():
        return
    try:
        place = gallery.place_of(card.name)
    except ReIDError as error:
        show_error(str(error))
        return
    known = ", which is registered already: it gets another sighting" if place.is_dir() else ""
    if known or place.name != card.name:
        st.caption(f"saved as {plain(place.name)}{known}")


def ask_merge(cards: Cards) -> None:
    """Which cards show the same vehicle; nothing where there is one card only."""
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
