"""What the Gallery page asks before it changes anything; what was done, or why not, is said on top of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, ParamSpec

import streamlit as st

from reid_lightning.app.context import AppContext
from reid_lightning.app.gallery import actions as actions
from reid_lightning.app.gallery.actions import Done
from reid_lightning.app.text import count, date, plain
from reid_lightning.app.widgets import choose_vehicle
from reid_lightning.search.gallery import VehicleSummary
from reid_lightning.search.records import Sighting
from reid_lightning.user_messages import user_message

MESSAGE, UNDO = "gallery_message", "gallery_undo_entry"
VEHICLE = "vehicle"  # in the page's address
_KEPT = "It can be brought back for seven days."
_Given = ParamSpec("_Given")


@dataclass
class _Once:
    """A dialog that was opened, and what its button did: a second click, of one who is fast, does nothing more."""

    reported: tuple[bool, str] | None = None


def _asking(title: str) -> Callable[[Callable[Concatenate[_Once, _Given], None]], Callable[_Given, None]]:
    """A dialog whose function is given a `_Once` of its own each time it is opened."""

    def decorator(body: Callable[Concatenate[_Once, _Given], None]) -> Callable[_Given, None]:
        draw = st.dialog(title)(body)

        @wraps(body)
        def ask(*given: _Given.args, **named: _Given.kwargs) -> None:
            draw(_Once(), *given, **named)

        return ask

    return decorator


def show_vehicle(name: str | None) -> None:
    """Go to a vehicle's page, or back to the list."""
    if name is None:
        st.query_params.pop(VEHICLE, None)
    else:
        st.query_params[VEHICLE] = name


def show_message(context: AppContext) -> None:
    """What the last action did, once, and a button to take it back."""
    done, text = st.session_state.pop(MESSAGE, (True, ""))
    entry = st.session_state.pop(UNDO, None)
    if text:
        (st.success if done else st.error)(plain(text))
    if entry is not None:
        st.button("Undo", key="gallery_undo", icon=":material/undo:", on_click=_undo, args=(context, entry))


@_asking("Rename a vehicle")
def ask_rename(once: _Once, context: AppContext, vehicle: str) -> None:
    """For its new name."""
    st.text_input("New name", value=vehicle, key="gallery_new_name", max_chars=200)
    st.caption("Capital letters, digits, dashes; other signs become `_`. The pictures stay as they are.")
    _confirm(once, "Rename", lambda: actions.rename(context, vehicle, st.session_state.gallery_new_name))


@_asking("Merge two vehicles")
def ask_merge(once: _Once, context: AppContext, vehicle: VehicleSummary) -> None:
    """For the vehicle that it is."""
    choose_vehicle(context.gallery, "It is the same as", key="gallery_into", without=vehicle.id)
    moved = count(vehicle.sightings, "sighting")
    st.write(
        f"{moved} of **{plain(vehicle.id)}** will move to the chosen vehicle; **{plain(vehicle.id)}** will be gone."
    )

    def merge() -> Done | None:
        into = st.session_state.get("gallery_into")
        return None if into is None else actions.merge(context, vehicle.id, into)

    _confirm(once, "Merge", merge)


@_asking("Delete a vehicle?")
def ask_delete(once: _Once, context: AppContext, vehicle: VehicleSummary) -> None:
    """Whether all of it shall go."""
    what = f"{count(vehicle.sightings, 'sighting')}, {count(vehicle.crops, 'picture')}"
    st.write(f"**{plain(vehicle.id)}** ({what}) will be deleted. {_KEPT}")
    _confirm(once, "Delete it", lambda: actions.delete(context, vehicle.id))


@_asking("Delete a sighting?")
def ask_delete_sighting(once: _Once, context: AppContext, sighting: Sighting, *, is_last: bool) -> None:
    """Whether this one shall go."""
    when = date(sighting.start) or "at an unknown time"
    camera = f"camera {plain(sighting.camera)}" if sighting.camera else "no camera"
    pictures = count(len(sighting.crops), "picture")
    st.write(f"The sighting of **{plain(sighting.vehicle)}**, {camera}, {when} ({pictures}) will be deleted. {_KEPT}")
    if is_last:
        st.write("It is the last one: the vehicle goes with it.")
    _confirm(once, "Delete it", lambda: actions.delete_sighting(context, sighting))


def _confirm(once: _Once, label: str, act: Callable[[], Done | None]) -> None:
    with st.container(horizontal=True):
        confirmed = st.button(label, key="gallery_confirm", type="primary", on_click=_do, args=(once, act))
        cancelled = st.button("Cancel", key="gallery_cancel")
    if confirmed or cancelled:
        st.rerun()


def _do(once: _Once, act: Callable[[], Done | None]) -> None:
    if once.reported is None:
        try:
            done = act()
        except Exception as error:
            message = user_message(error)
            if message is None:
                raise
            once.reported = (False, f"{message[:1].upper()}{message[1:]}")
        else:
            once.reported = (False, "Nothing was chosen, nothing was done.") if done is None else (True, done.text)
            if done is not None:
                show_vehicle(done.vehicle)
                st.session_state[UNDO] = done.undo
    st.session_state[MESSAGE] = once.reported


def _undo(context: AppContext, entry: str) -> None:
    _do(_Once(), lambda: actions.undo(context, entry))
